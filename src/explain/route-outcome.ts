// Outcomes of routing: no route, no host, a full circuit breaker, retries used up, timeouts, faults, or the upstream's own answer; and the
// VirtualService, DestinationRule or Service behind each.

import type { LoggedRequest } from './access-line.ts';
import { type Place, placeOf } from './known-mesh.ts';
import type { Finding, Side } from './request-outcome.ts';
import { type AskedRoute, rulePlaces, targetOf, virtualServicesFor } from './taken-rule.ts';
import { hostlessPlaces, notKnown, type PolicyPart, partOf, plainTextPlaces, servicePlaces } from './traffic-places.ts';

const finding = (outcome: string, places: readonly Place[], hint: string): Finding => {
  const [first, ...related] = places;
  return { outcome, decidedBy: first, related, hint };
};

type Row = readonly [is: (logged: LoggedRequest) => boolean, tell: (ask: Ask) => Finding];

interface Ask extends AskedRoute {
  readonly side: Side;
}

const flag =
  (...names: readonly string[]) =>
  ({ flags }: LoggedRequest): boolean =>
    names.some((n) => flags.includes(n));

const objects = (a: Ask): readonly Place[] => virtualServicesFor(a).map((rule) => placeOf(rule.resource));
const part = (a: Ask, name: PolicyPart): readonly Place[] => [partOf(a, name)?.place].filter((place) => place !== undefined);
const where = ({ logged }: Ask): string => targetOf(logged).host || logged.authority || logged.upstream;

const noHost = (ask: Ask): Finding => {
  const { subset } = targetOf(ask.logged);
  const which = subset === '' ? where(ask) : `subset ${subset} of ${where(ask)}`;
  return finding(
    `no usable host in ${which}`,
    hostlessPlaces(ask),
    'are replicas ready, do labels match the selector or subset, has outlier detection ejected them?',
  );
};

/** A cluster or a route for what the caller does not know. */
const isUnknown = ({ cluster, route, details }: LoggedRequest): boolean =>
  cluster === 'BlackHoleCluster' || (route === 'block_all' && details === 'direct_response');

const unknown = (ask: Ask): Finding => {
  if (ask.node === undefined) return finding('nobody that the proxy knows was called', [], '');
  const { outcome, places, hint } = notKnown(ask, ask.node);
  return finding(outcome, places, hint);
};

const plainText = (ask: Ask): Finding | undefined => {
  const places = ask.side === 'inbound' ? [] : plainTextPlaces(ask);
  if (places.length === 0) return undefined;
  return finding(
    `${where(ask)} takes mutual TLS only, and a DestinationRule has the caller use none`,
    places,
    'take tls.mode DISABLE out of the DestinationRule, or set the port to PERMISSIVE',
  );
};

const unreachable = (ask: Ask): Finding => {
  const { transportFailure, upstream } = ask.logged;
  const why = transportFailure === '' ? '' : `: ${transportFailure.replaceAll('_', ' ')}`;
  const tls = /tls|ssl|certificate/i.test(transportFailure);
  const places = tls
    ? [...part(ask, 'tls'), ...ask.mesh.snapshot.peerAuthentication.all.map((p) => placeOf(p, 'spec'))]
    : servicePlaces(ask);
  return finding(
    `${upstream || where(ask)} could not be reached${why}`,
    places,
    tls
      ? 'the TLS modes of the two ends differ, or a certificate is not accepted'
      : 'does the application listen on the target port of the Service?',
  );
};

const ROWS: readonly Row[] = [
  [isUnknown, unknown],
  [
    flag('FI', 'DI'),
    (a) =>
      finding('the request met a fault that is injected on purpose', rulePlaces(a, 'fault'), 'take the fault out of the VirtualService'),
  ],
  [
    flag('NR'),
    (a) =>
      a.side === 'inbound'
        ? finding('no route took the request', [], 'skein proxy-config routes shows what there is')
        : finding(
            `no route for ${a.logged.authority}${a.logged.path}`,
            objects(a),
            'no virtual host has the name, or no match of the VirtualService takes the path, method or headers; end it with a rule without match',
          ),
  ],
  [
    flag('NC'),
    (a) =>
      finding(
        'the route leads to a cluster that is not there',
        [...rulePlaces(a, 'route'), ...objects(a)],
        'add the subset to a DestinationRule, or the service',
      ),
  ],
  [flag('UH'), noHost],
  [
    flag('UO'),
    (a) =>
      finding(
        `a circuit breaker of ${where(a)} was open`,
        part(a, 'connectionPool'),
        'raise the connectionPool limits, or let callers wait less',
      ),
  ],
  [
    flag('UT'),
    (a) =>
      finding(
        `${where(a)} did not answer in time`,
        a.logged.details === 'upstream_per_try_timeout'
          ? rulePlaces(a, 'retries')
          : [...rulePlaces(a, 'timeout'), ...rulePlaces(a, 'retries')],
        'raise the timeout, or make the work shorter',
      ),
  ],
  [
    flag('URX'),
    (a) =>
      plainText(a) ??
      finding(
        `all attempts to reach ${where(a)} failed`,
        [...rulePlaces(a, 'retries'), ...servicePlaces(a)],
        'the last attempt says why: look at the lines of the upstream',
      ),
  ],
  [flag('UF'), (a) => plainText(a) ?? unreachable(a)],
  [
    flag('UC'),
    (a) => plainText(a) ?? finding(`${where(a)} closed the connection before it had answered`, [], 'look at the log of the application'),
  ],
  [flag('UR'), (a) => finding(`${where(a)} reset the stream`, [], 'look at the log of the application')],
  [
    flag('DC', 'DR'),
    () => finding('the client went away before it had the answer', [], "the client's own timeout is shorter than the work"),
  ],
  [
    flag('DPE'),
    () => finding('the client sent what is not HTTP, or broken HTTP', [], 'is the port named for the protocol that clients speak?'),
  ],
  [
    flag('UPE'),
    (a) =>
      finding(
        `${where(a)} answered what is not HTTP, or broken HTTP`,
        [],
        'is the port named for the protocol that the application speaks?',
      ),
  ],
];

export const routeOutcome = (ask: Ask): Finding => {
  const { logged, side } = ask;
  const row = ROWS.find(([is]) => is(logged));
  if (row !== undefined) return row[1](ask);
  if (logged.details === 'via_upstream') {
    const who = side === 'inbound' ? 'the application' : where(ask);
    return { outcome: `${who} answered ${logged.code}`, hint: logged.code >= 400 ? `look at the log of ${who}` : '', passedOn: true };
  }
  if (logged.details === 'direct_response')
    return finding(
      'a route answered by itself',
      [
        ...rulePlaces(ask, logged.code < 400 ? 'redirect' : 'directResponse'),
        ...rulePlaces(ask, logged.code < 400 ? 'directResponse' : 'redirect'),
      ],
      'directResponse or redirect of a VirtualService',
    );
  const words = logged.details || logged.termination || 'nothing in the log says why';
  return { outcome: `${logged.code === 0 ? 'the connection ended' : `answered ${logged.code}`}: ${words}`, hint: '' };
};
