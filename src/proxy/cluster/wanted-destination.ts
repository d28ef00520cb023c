// Where a request says it goes, for clusters of type ORIGINAL_DST that listen to it: a header, or what a filter found. Compiled with the
// cluster; undefined from it means: where the connection was going.

import { isIP } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import { compileMetadataKey } from '../../plan/rate-limit/actions.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Cluster_OriginalDstLbConfig, JsonObject } from '../../xds/gen/types.ts';

interface Destination {
  readonly ip: string;
  readonly port: number;
}
export type WantedDestination = (headers: HeaderBlock, metadata: JsonObject | undefined) => Destination | undefined;

/** Envoy's, where a cluster names no other. */
const ORIGINAL_DST_HEADER = 'x-envoy-original-dst-host';

/** undefined: the cluster listens to nobody. */
export const compileWantedDestination = (config: Cluster_OriginalDstLbConfig | undefined): WantedDestination | undefined => {
  if (config === undefined) return undefined;
  const header = config.use_http_header === true ? (config.http_header_name || ORIGINAL_DST_HEADER).toLowerCase() : '';
  if (header === '' && config.http_header_name)
    throw new PlanError('original_dst_lb_config.http_header_name', 'is of no use without use_http_header');
  const key = config.metadata_key;
  const found = key === undefined ? undefined : compileMetadataKey(key, 'original_dst_lb_config.metadata_key');
  if (header === '' && found === undefined) return undefined;
  return (headers, metadata) => {
    const told = header === '' ? undefined : destinationIn(headers.get(header));
    if (told !== undefined || found === undefined) return told;
    const value = found(metadata);
    return typeof value === 'string' ? destinationIn(value) : undefined;
  };
};

const destinationIn = (text: string | undefined): Destination | undefined => {
  const parts = text === undefined ? null : /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const [ip, port] = [parts[1] ?? parts[2] ?? '', Number(parts[3])];
  return isIP(ip) !== 0 && port <= 65_535 ? { ip, port } : undefined;
};
