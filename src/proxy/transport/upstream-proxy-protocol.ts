// The transport socket envoy.transport_sockets.upstream_proxy_protocol: another transport whose connections begin with a PROXY
// protocol header, before TLS if that follows. It tells the peer for which client each connection is, so none is shared by two.

import type { Socket } from 'node:net';
import type { TlsFacts } from '../../plan/stream-info.ts';
import { type ProxyTlv, writeProxyV1, writeProxyV2 } from '../../wire/proxy-protocol.ts';
import type { ProxyProtocolUpstreamTransport } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { compileTlvFilter } from '../listener/proxy-protocol.ts';
import type { ProxiedClient, TransportVariant, UpstreamTransport } from './upstream-transport.ts';

export class ProxyProtocolTransport implements UpstreamTransport {
  readonly kind: 'raw' | 'tls';
  readonly sni: string;
  readonly tellsClient = true;
  readonly #inner: UpstreamTransport;
  readonly #version2: boolean;
  readonly #passes: (tlv: ProxyTlv) => boolean;

  constructor({ config }: ProxyProtocolUpstreamTransport, inner: UpstreamTransport) {
    this.#inner = inner;
    this.kind = inner.kind;
    this.sni = inner.sni;
    this.#version2 = config?.version === 'V2' || config?.version === 1;
    this.#passes = compileTlvFilter(config?.pass_through_tlvs);
  }

  get warm(): boolean {
    return this.#inner.warm;
  }

  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant, preamble?: Buffer): Socket {
    const { client } = variant;
    const own = this.#version2 ? writeProxyV2(client?.addresses, client?.tlvs.filter(this.#passes) ?? []) : writeProxyV1(client?.addresses);
    return this.#inner.connect(ip, port, localAddress, variant, preamble === undefined ? own : Buffer.concat([preamble, own]));
  }

  facts(socket: Socket): TlsFacts | undefined {
    return this.#inner.facts(socket);
  }

  close(): void {
    this.#inner.close();
  }
}

/** The same variant for one client alone. */
export const forClient = (variant: TransportVariant, facts: DownstreamFacts): TransportVariant => {
  const client: ProxiedClient = {
    addresses: {
      sourceIp: facts.remoteIp,
      sourcePort: facts.remotePort,
      destinationIp: facts.localIp,
      destinationPort: facts.localPort,
    },
    tlvs: facts.proxyTlvs ?? [],
  };
  return { ...variant, key: `${variant.key}|${facts.id}`, client };
};
