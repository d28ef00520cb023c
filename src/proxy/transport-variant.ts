// Which transport variant a request rides on: the ALPN a filter asked for, the SNI and the name to check taken from its authority.

import type { ClusterRuntime } from './cluster-runtime.ts';
import { PLAIN_VARIANT, type TransportVariant } from './upstream-transport.ts';

export interface VariantRequest {
  readonly authority: string;
  readonly upstreamAlpn: readonly string[] | undefined;
}

export const transportVariant = (cluster: ClusterRuntime, request: VariantRequest): TransportVariant => {
  if (!cluster.hasVariants) return PLAIN_VARIANT;
  const { autoSni, autoSanValidation } = cluster.protocol;
  const alpn = request.upstreamAlpn;
  if (alpn === undefined && !autoSni && !autoSanValidation) return PLAIN_VARIANT;
  if (alpn !== undefined && !autoSni && !autoSanValidation) return alpnVariant(alpn);
  const name = autoSni || autoSanValidation ? stripAnyPort(request.authority) : '';
  return {
    key: `${alpn?.join() ?? ''}|${name}`,
    alpn,
    sni: autoSni ? name : undefined,
    serverName: autoSanValidation ? name : undefined,
  };
};

// A filter's ALPN list is one array for its whole life, so is what is made of it.
const byAlpn = new WeakMap<readonly string[], TransportVariant>();
const alpnVariant = (alpn: readonly string[]): TransportVariant => {
  let variant = byAlpn.get(alpn);
  if (variant === undefined) {
    variant = { key: `${alpn.join()}|`, alpn, sni: undefined, serverName: undefined };
    byAlpn.set(alpn, variant);
  }
  return variant;
};

const stripAnyPort = (authority: string): string => authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
