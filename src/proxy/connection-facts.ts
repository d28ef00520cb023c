// What is known of an accepted connection for its whole life; every exchange and tunnel on it starts from these.

import type { StreamInfo, TlsFacts } from '../plan/stream-info.ts';
import type { ProxyTlv } from '../wire/proxy-protocol.ts';
import type { JsonObject, Metadata } from '../xds/gen/types.ts';
import type { LiveConnection } from './connection-ledger.ts';
import type { ListenerContext } from './exchange/observer.ts';

export interface DownstreamFacts {
  readonly id: number;
  /** Who the client is: the TCP peer, or whom a PROXY protocol header names. */
  remoteIp: string;
  remotePort: number;
  /** The TCP peer; undefined while it is the client itself. */
  directRemote: { readonly ip: string; readonly port: number } | undefined;
  /** The address the client meant: restored from the kernel where packets were redirected, or from a PROXY protocol header. */
  localIp: string;
  localPort: number;
  readonly directLocal: string;
  originalDestination: { readonly ip: string; readonly port: number } | undefined;
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
  /** Of the PROXY protocol header the connection began with: an upstream one may pass them on. */
  proxyTlvs: readonly ProxyTlv[] | undefined;
  /** What listener and network filters leave for the log and for later filters. */
  dynamicMetadata: { [namespace: string]: JsonObject } | undefined;
  filterState: { [key: string]: string } | undefined;
  /** Counts it; absent where nobody does. */
  live?: LiveConnection;
}

/** What is known of a connection at the moment it is accepted. */
export type AcceptedFacts = Pick<
  DownstreamFacts,
  | 'id'
  | 'remoteIp'
  | 'remotePort'
  | 'localIp'
  | 'localPort'
  | 'directLocal'
  | 'originalDestination'
  | 'listenerName'
  | 'listenerMetadata'
  | 'listenerContext'
  | 'startMs'
>;

export const acceptedFacts = (accepted: AcceptedFacts): DownstreamFacts => ({
  ...accepted,
  directRemote: undefined,
  filterChainName: '',
  sni: '',
  alpn: [],
  tls: undefined,
  localUri: '',
  proxyTlvs: undefined,
  dynamicMetadata: undefined,
  filterState: undefined,
});

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
  const direct = facts.directRemote;
  info.downstreamDirectRemoteAddress = direct === undefined ? info.downstreamRemoteAddress : addressText(direct.ip, direct.port);
  info.downstreamLocalAddress = facts.localText;
  info.downstreamDirectLocalAddress = facts.directLocal;
  info.listenerName = facts.listenerName;
  info.listenerMetadata = facts.listenerMetadata;
  info.filterChainName = facts.filterChainName;
  info.requestedServerName = facts.sni;
  info.downstreamTls = facts.tls;
  info.downstreamTransportIsTls = facts.tls !== undefined;
  if (facts.dynamicMetadata !== undefined) info.dynamicMetadata = { ...info.dynamicMetadata, ...facts.dynamicMetadata };
  if (facts.filterState !== undefined) info.filterState = { ...info.filterState, ...facts.filterState };
};
