// The listener filter envoy.filters.listener.proxy_protocol: the header before a connection says who the client is and where it
// went. Reads it off the first bytes and writes what it says into the connection's facts.

import { PlanError } from '../../plan/plan-error.ts';
import { type ProxyHeader, type ProxyTlv, readProxyHeader } from '../../wire/proxy-protocol.ts';
import type { AnyMessage, JsonObject, ProxyProtocol, ProxyProtocolPassThroughTLVs } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { configAs } from '../extension-config.ts';
import type { Stat, StatsStore } from '../stats-store.ts';

/** Bytes to take off, or: more must come, or: the connection is to be closed. */
export type ProxyProtocolResult = number | 'more' | 'close';

interface VersionStats {
  readonly found: Stat;
  readonly disallowed: Stat;
  readonly error: Stat;
}

const METADATA_NAMESPACE = 'envoy.filters.listener.proxy_protocol';

export class ProxyProtocolFilter {
  readonly #optional: boolean;
  readonly #disallowed: ReadonlySet<number>;
  readonly #rules: readonly { readonly type: number; readonly namespace: string; readonly key: string }[];
  readonly #keeps: (tlv: ProxyTlv) => boolean;
  readonly #versions: { readonly 1: VersionStats; readonly 2: VersionStats };
  readonly #notFoundAllowed: Stat;
  readonly #notFoundDisallowed: Stat;

  constructor(any: AnyMessage | undefined, stats: StatsStore, path: string) {
    const config = configAs<ProxyProtocol>(any, path);
    this.#optional = config.allow_requests_without_proxy_protocol === true;
    this.#disallowed = new Set((config.disallowed_versions ?? []).map((v) => (v === 'V2' || v === 1 ? 2 : 1)));
    this.#rules = (config.rules ?? []).map((rule, i) => {
      const key = rule.on_tlv_present?.key ?? '';
      const type = rule.tlv_type ?? 0;
      if (type > 255) throw new PlanError(`${path}.rules[${i}].tlv_type`, 'is no TLV type');
      if (key === '') throw new PlanError(`${path}.rules[${i}].on_tlv_present.key`, 'is needed');
      return { type, key, namespace: rule.on_tlv_present?.metadata_namespace || METADATA_NAMESPACE };
    });
    this.#keeps = compileTlvFilter(config.pass_through_tlvs);
    const prefix = `proxy_proto.${(config.stat_prefix ?? '') === '' ? '' : `${config.stat_prefix}.`}`;
    const version = (n: 1 | 2): VersionStats => ({
      found: stats.counter(`${prefix}versions.v${n}.found`),
      disallowed: stats.counter(`${prefix}versions.v${n}.disallowed`),
      error: stats.counter(`${prefix}versions.v${n}.error`),
    });
    this.#versions = { 1: version(1), 2: version(2) };
    this.#notFoundAllowed = stats.counter(`${prefix}not_found_allowed`);
    this.#notFoundDisallowed = stats.counter(`${prefix}not_found_disallowed`);
  }

  /** `bytes`: all of the connection so far. */
  read(bytes: Buffer, facts: DownstreamFacts): ProxyProtocolResult {
    const header = readProxyHeader(bytes);
    switch (header.kind) {
      case 'need-more':
        return 'more';
      case 'none':
        (this.#optional ? this.#notFoundAllowed : this.#notFoundDisallowed).value++;
        return this.#optional ? 0 : 'close';
      case 'error':
        this.#versions[header.version].error.value++;
        return 'close';
      case 'header':
        return this.#take(header, facts);
    }
  }

  #take(header: Extract<ProxyHeader, { kind: 'header' }>, facts: DownstreamFacts): ProxyProtocolResult {
    const stats = this.#versions[header.version];
    if (this.#disallowed.has(header.version)) {
      stats.disallowed.value++;
      return 'close';
    }
    stats.found.value++;
    const { addresses } = header;
    if (addresses !== undefined) {
      facts.directRemote = { ip: facts.remoteIp, port: facts.remotePort };
      facts.remoteIp = addresses.sourceIp;
      facts.remotePort = addresses.sourcePort;
      facts.localIp = addresses.destinationIp;
      facts.localPort = addresses.destinationPort;
      facts.originalDestination = { ip: addresses.destinationIp, port: addresses.destinationPort };
    }
    const kept = header.tlvs.filter(this.#keeps);
    if (kept.length > 0) facts.proxyTlvs = kept;
    for (const tlv of header.tlvs)
      for (const rule of this.#rules) if (rule.type === tlv.type) remember(facts, rule.namespace, rule.key, tlv.value);
    return header.length;
  }
}

const remember = (facts: DownstreamFacts, namespace: string, key: string, value: Buffer): void => {
  const metadata: { [namespace: string]: JsonObject } = facts.dynamicMetadata ?? {};
  metadata[namespace] = { ...metadata[namespace], [key]: printable(value) };
  facts.dynamicMetadata = metadata;
};

/** As Envoy: every byte that is no UTF-8 becomes `!`. */
const printable = (value: Buffer): string => {
  const text = value.toString('utf8');
  if (!text.includes('\ufffd')) return text;
  let out = '';
  for (let at = 0; at < value.length; ) {
    const lead = value[at] ?? 0;
    const size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
    const piece = value.toString('utf8', at, at + size);
    const sound = !piece.includes('\ufffd');
    out += sound ? piece : '!';
    at += sound ? size : 1;
  }
  return out;
};

/** Which type-length-values are passed on; none unless told. */
export const compileTlvFilter = (config: ProxyProtocolPassThroughTLVs | undefined): ((tlv: ProxyTlv) => boolean) => {
  if (config === undefined) return () => false;
  if (config.match_type === 'INCLUDE' || config.match_type === 1) {
    const types = new Set(config.tlv_type ?? []);
    return (tlv) => types.has(tlv.type);
  }
  return () => true;
};
