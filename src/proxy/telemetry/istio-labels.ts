// The labels of Istio's standard metrics for one kind of exchange, in Istio's names. Made once per series.
import type { Labels } from '../../base/metrics.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { bounded } from './metric-changes.ts';
import { namespaceOf, serviceOf, UNKNOWN_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';
import type { SeriesKey } from './series-table.ts';

export type Reporter = 'source' | 'destination' | 'waypoint';

const UNKNOWN = 'unknown';
/** In the place of what there was no room to tell. */
export const OVERFLOW = 'overflow';
const OVERFLOW_PEER: Peer = {
  workload: OVERFLOW,
  namespace: OVERFLOW,
  cluster: OVERFLOW,
  app: OVERFLOW,
  version: OVERFLOW,
  canonicalService: OVERFLOW,
  canonicalRevision: OVERFLOW,
};

/** How much of an exchange is told. */
export type Telling = 'all' | 'without callers' | 'nothing';

export const standardLabels = (
  own: Peer,
  reporter: Reporter,
  info: StreamInfo,
  peer: Peer,
  code: string | undefined,
  key: SeriesKey,
  telling: Telling,
): Labels => {
  const inbound = reporter !== 'source';
  const waypoint = reporter === 'waypoint';
  const told = telling === 'all' ? withNamespace(peer, key.peerPrincipal) : OVERFLOW_PEER;
  const peerPrincipal = telling === 'all' ? key.peerPrincipal : OVERFLOW;
  const behind = waypoint
    ? { ...(telling === 'nothing' ? OVERFLOW_PEER : (upstreamPeer(info) ?? UNKNOWN_PEER)), cluster: own.cluster }
    : own;
  const destination = inbound ? behind : told;
  const fallback = waypoint ? destination.canonicalService : '';
  const service = serviceTold(info, key, telling);
  return [
    ['reporter', reporter],
    ...side('source', inbound ? told : own, inbound ? peerPrincipal : key.ownPrincipal),
    ...side('destination', destination, inbound ? (waypoint ? '' : key.ownPrincipal) : peerPrincipal),
    ['destination_service', bounded(service.host || fallback || UNKNOWN)],
    ['destination_service_name', bounded(service.name || fallback || UNKNOWN)],
    ['destination_service_namespace', (waypoint ? own.namespace : service.namespace || destination.namespace) || UNKNOWN],
    ...(code === undefined ? [] : ending(code, key, securityOf(inbound, key.peerPrincipal))),
  ];
};

const serviceTold = (info: StreamInfo, key: SeriesKey, telling: Telling): { host: string; name: string; namespace: string } => {
  if (telling === 'nothing') return { host: OVERFLOW, name: OVERFLOW, namespace: OVERFLOW };
  const service = serviceOf(info, key.host !== '');
  if (telling === 'all' || key.host === '') return service;
  // A name that the caller chose.
  return {
    host: service.host === '' ? '' : OVERFLOW,
    name: service.name === info.authority ? OVERFLOW : service.name,
    namespace: service.namespace,
  };
};

const securityOf = (inbound: boolean, peerPrincipal: string): string => (!inbound ? UNKNOWN : peerPrincipal === '' ? 'none' : 'mutual_tls');

/** What is known of an exchange when it ends; Istio's message counters leave it out. */
const ending = (code: string, key: SeriesKey, security: string): Labels => [
  ['request_protocol', key.protocol],
  ...(key.protocol === 'tcp'
    ? []
    : ([
        ['response_code', code],
        ['grpc_response_status', key.grpcStatus],
      ] as const)),
  ['response_flags', key.flags],
  ['connection_security_policy', security],
];

/** What a certificate says of the namespace goes before what its holder tells. */
const withNamespace = (peer: Peer, spiffeId: string): Peer => {
  const namespace = spiffeId === '' ? '' : namespaceOf(spiffeId);
  return namespace === '' || namespace === peer.namespace ? peer : { ...peer, namespace };
};

const side = (name: 'source' | 'destination', peer: Peer, spiffeId: string): Labels => [
  [`${name}_workload`, bounded(peer.workload || UNKNOWN)],
  [`${name}_canonical_service`, bounded(peer.canonicalService || UNKNOWN)],
  [`${name}_canonical_revision`, bounded(peer.canonicalRevision || (peer.canonicalService === '' ? UNKNOWN : 'latest'))],
  [`${name}_workload_namespace`, bounded(peer.namespace || UNKNOWN)],
  [`${name}_principal`, spiffeId || UNKNOWN],
  [`${name}_app`, bounded(peer.app || UNKNOWN)],
  [`${name}_version`, bounded(peer.version || UNKNOWN)],
  [`${name}_cluster`, bounded(peer.cluster || UNKNOWN)],
];
