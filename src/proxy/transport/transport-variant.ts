// Which transport variant a request rides on: the protocol its cluster speaks to it, the ALPN a filter asked for, the SNI and the
// name to check taken from its authority.

import { type UpstreamProtocol, upstreamProtocol } from '../cluster/cluster-protocol.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import { PLAIN_VARIANT, type TransportVariant } from './upstream-transport.ts';

export interface VariantRequest {
  readonly authority: string;
  readonly upstreamAlpn: readonly string[] | undefined;
}

const PLAIN: { readonly [P in UpstreamProtocol]: TransportVariant } = {
  http1: PLAIN_VARIANT,
  http2: { ...PLAIN_VARIANT, key: 'http2', protocol: 'http2' },
  auto: { ...PLAIN_VARIANT, key: 'auto', protocol: 'auto' },
};

/** `http2`: the client speaks HTTP/2. */
export const transportVariant = (cluster: ClusterRuntime, request: VariantRequest, http2: boolean): TransportVariant => {
  const protocol = upstreamProtocol(cluster.protocol, http2);
  if (!cluster.hasVariants) return PLAIN[protocol];
  const { autoSni, autoSanValidation } = cluster.protocol;
  const alpn = request.upstreamAlpn;
  if (alpn === undefined && !autoSni && !autoSanValidation) return PLAIN[protocol];
  if (alpn !== undefined && !autoSni && !autoSanValidation) return alpnVariant(alpn, protocol);
  const name = autoSni || autoSanValidation ? stripAnyPort(request.authority) : '';
  return {
    key: `${protocol}|${alpn?.join() ?? ''}|${name}`,
    protocol,
    alpn,
    sni: autoSni ? name : undefined,
    serverName: autoSanValidation ? name : undefined,
  };
};

// A filter's ALPN list is one array for its whole life, so is what is made of it.
const byAlpn = new WeakMap<readonly string[], TransportVariant>();
const alpnVariant = (alpn: readonly string[], protocol: UpstreamProtocol): TransportVariant => {
  let variant = byAlpn.get(alpn);
  if (variant?.protocol !== protocol) {
    variant = { key: `${protocol}|${alpn.join()}|`, protocol, alpn, sni: undefined, serverName: undefined };
    byAlpn.set(alpn, variant);
  }
  return variant;
};

const stripAnyPort = (authority: string): string => authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
