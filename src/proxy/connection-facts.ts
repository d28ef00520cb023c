// What is known of an accepted connection for its whole life; every exchange and tunnel on it starts from these.

import type { StreamInfo, TlsFacts } from '../plan/stream-info.ts';
import type { Metadata } from '../xds/gen/types.ts';
import type { ListenerContext } from './observer.ts';

export interface DownstreamFacts {
  readonly id: number;
  readonly remoteIp: string;
  readonly remotePort: number;
  /** The address the client meant: restored from the kernel where packets were redirected. */
  readonly localIp: string;
  readonly localPort: number;
  readonly directLocal: string;
  readonly originalDestination: { readonly ip: string; readonly port: number } | undefined;
  readonly listenerName: string;
  readonly listenerMetadata: Metadata | undefined;
  readonly listenerContext: ListenerContext;
  /** Both addresses as texts, made when first told. */
  remoteText?: string;
  localText?: string;
  filterChainName: string;
  sni: string;
  alpn: readonly string[];
  tls: TlsFacts | undefined;
  /** URI SAN of our own certificate. */
  localUri: string;
  startMs: number;
}

export const addressText = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

/** The same for every request of one client connection, as Envoy names it in the cookies it makes. */
export const connectionKey = (facts: DownstreamFacts): string =>
  `${addressText(facts.remoteIp, facts.remotePort)}${addressText(facts.localIp, facts.localPort)}`;

/** Node prints IPv4 clients of a dual-stack socket as ::ffff:a.b.c.d. */
export const plainIp = (ip: string | undefined): string => {
  const text = ip ?? '';
  return text.startsWith('::ffff:') && text.includes('.') ? text.slice(7) : text;
};

export const describeConnection = (info: StreamInfo, facts: DownstreamFacts): void => {
  info.connectionId = facts.id;
  facts.remoteText ??= addressText(facts.remoteIp, facts.remotePort);
  facts.localText ??= addressText(facts.localIp, facts.localPort);
  info.downstreamRemoteAddress = facts.remoteText;
  info.downstreamDirectRemoteAddress = info.downstreamRemoteAddress;
  info.downstreamLocalAddress = facts.localText;
  info.downstreamDirectLocalAddress = facts.directLocal;
  info.listenerName = facts.listenerName;
  info.listenerMetadata = facts.listenerMetadata;
  info.filterChainName = facts.filterChainName;
  info.requestedServerName = facts.sni;
  info.downstreamTls = facts.tls;
  info.downstreamTransportIsTls = facts.tls !== undefined;
};
