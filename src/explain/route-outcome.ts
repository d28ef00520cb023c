// Outcomes of routing: no route, no host, a full circuit breaker, retries used up, timeouts, faults, or the upstream's own answer; and the
// VirtualService, DestinationRule or Service behind each.

import { ofKind, type Resource } from '../api/resource.ts';
import type { LoggedRequest } from './access-line.ts';
import { type KnownMesh, type Place, placeOf } from './known-mesh.ts';
import type { Finding, Side } from './request-outcome.ts';
import { destinationRules, longName } from './security-places.ts';

interface Target {
  readonly host: string;
  readonly subset: string;
}

/** `outbound|80|v1|payment.production.svc.cluster.local`. */
const targetOf = ({ cluster }: LoggedRequest): Target => {
  const [, , subset = '', host = ''] = cluster.split('|');
  return { host, subset };
};

const authorityHost = (authority: string): string => authority.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');

/** VirtualServices for the host that was asked, and the rule that took the request where its name is logged. */
const virtualServices = (mesh: KnownMesh, logged: LoggedRequest, namespace: string, field: string): readonly Place[] => {
  const wanted = new Set([longName(authorityHost(logged.authority), namespace), authorityHost(logged.authority), targetOf(logged).host]);
  return ofKind(mesh.resources, 'VirtualService')
    .filter((r) => (r.spec.hosts ?? []).some((h) => covers(longName(h, r.namespace), wanted)))
    .flatMap((r) => rulePlace(r, logged.route, field));
};

const covers = (host: string, wanted: ReadonlySet<string>): boolean =>
  wanted.has(host) || host === '*' || (host.startsWith('*.') && [...wanted].some((w) => w.endsWith(host.slice(1))));

const rulePlace = (r: Resource<'VirtualService'>, route: string, field: string): readonly Place[] => {
  const http = r.spec.http ?? [];
  const has = (i: number): boolean => field === '' || (http[i] as Readonly<Record<string, unknown>> | undefined)?.[field] !== undefined;
  const named = http.findIndex((h) => h.name !== undefined && h.name !== '' && h.name === route);
  const tail = field === '' ? '' : `.${field}`;
  if (named >= 0) return has(named) ? [placeOf(r, `spec.http[${named}]${tail}`)] : [];
  if (field === '') return [placeOf(r)];
  return http.flatMap((_, i) => (has(i) ? [placeOf(r, `spec.http[${i}]${tail}`)] : []));
};

const services = (mesh: KnownMesh, host: string): readonly Place[] =>
  mesh.snapshot.services.withHost(host).map((s) => ({
    kind: s.registry === 'Kubernetes' ? 'Service' : 'ServiceEntry',
    namespace: s.namespace,
    name: s.name,
    path: '',
    file: s.origin.file,
    line: s.origin.line,
  }));

const finding = (outcome: string, places: readonly Place[], hint: string): Finding => {
  const [first, ...related] = places;
  return { outcome, decidedBy: first, related, hint };
};

type Row = readonly [is: (logged: LoggedRequest) => boolean, tell: (ask: Ask) => Finding];

interface Ask {
  readonly mesh: KnownMesh;
  readonly logged: LoggedRequest;
  readonly side: Side;
  readonly namespace: string;
}

const flag =
  (...names: readonly string[]) =>
  ({ flags }: LoggedRequest): boolean =>
    names.some((n) => flags.includes(n));

const rules = ({ mesh, logged, namespace }: Ask, field = ''): readonly Place[] => virtualServices(mesh, logged, namespace, field);
const traffic = ({ mesh, logged }: Ask, path: string): readonly Place[] =>
  destinationRules(mesh, targetOf(logged).host).map((r) => placeOf(r, path));

const subsets = ({ mesh, logged }: Ask): readonly Place[] => {
  const { host, subset } = targetOf(logged);
  return destinationRules(mesh, host).flatMap((r) => {
    const at = (r.spec.subsets ?? []).findIndex((s) => s.name === subset);
    return subset === '' || at < 0 ? [] : [placeOf(r, `spec.subsets[${at}]`)];
  });
};
const where = ({ logged }: Ask): string => targetOf(logged).host || logged.authority || logged.upstream;

const noHost = (ask: Ask): Finding => {
  const { host, subset } = targetOf(ask.logged);
  const places = [...subsets(ask), ...services(ask.mesh, host), ...traffic(ask, 'spec.trafficPolicy')];
  const which = subset === '' ? where(ask) : `subset ${subset} of ${where(ask)}`;
  return finding(
    `no usable host in ${which}`,
    places,
    'are replicas ready, do labels match the selector or subset, has outlier detection ejected them?',
  );
};

const unreachable = (ask: Ask): Finding => {
  const { transportFailure, upstream } = ask.logged;
  const why = transportFailure === '' ? '' : `: ${transportFailure.replaceAll('_', ' ')}`;
  const tls = /tls|ssl|certificate/i.test(transportFailure);
  const places = tls
    ? [...traffic(ask, 'spec.trafficPolicy.tls'), ...strictModes(ask.mesh)]
    : services(ask.mesh, targetOf(ask.logged).host);
  return finding(
    `${upstream || where(ask)} could not be reached${why}`,
    places,
    tls
      ? 'the TLS modes of the two ends differ, or a certificate is not accepted'
      : 'does the application listen on the target port of the Service?',
  );
};

const strictModes = (mesh: KnownMesh): readonly Place[] => mesh.snapshot.peerAuthentication.all.map((p) => placeOf(p, 'spec'));

const ROWS: readonly Row[] = [
  [
    flag('FI', 'DI'),
    (a) => finding('the request met a fault that is injected on purpose', rules(a, 'fault'), 'take the fault out of the VirtualService'),
  ],
  [
    flag('NR'),
    (a) =>
      a.side === 'inbound'
        ? finding('no route took the request', [], 'skein proxy-config routes shows what there is')
        : finding(
            `no route for ${a.logged.authority}${a.logged.path}`,
            rules(a),
            'no virtual host has the name, or no match of the VirtualService takes the path, method or headers; end it with a rule without match',
          ),
  ],
  [
    flag('NC'),
    (a) => finding('the route leads to a cluster that is not there', rules(a), 'add the subset to a DestinationRule, or the service'),
  ],
  [flag('UH'), noHost],
  [
    flag('UO'),
    (a) =>
      finding(
        `a circuit breaker of ${where(a)} was open`,
        traffic(a, 'spec.trafficPolicy.connectionPool'),
        'raise the connectionPool limits, or let callers wait less',
      ),
  ],
  [
    flag('UT'),
    (a) =>
      finding(
        `${where(a)} did not answer in time`,
        [...rules(a, 'timeout'), ...rules(a, 'retries')],
        'raise the timeout, or make the work shorter',
      ),
  ],
  [
    flag('URX'),
    (a) =>
      finding(
        `all attempts to reach ${where(a)} failed`,
        [...rules(a, 'retries'), ...services(a.mesh, targetOf(a.logged).host)],
        'the last attempt says why: look at the lines of the upstream',
      ),
  ],
  [flag('UF'), unreachable],
  [flag('UC'), (a) => finding(`${where(a)} closed the connection before it had answered`, [], 'look at the log of the application')],
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

export const routeOutcome = (mesh: KnownMesh, logged: LoggedRequest, side: Side, namespace: string): Finding => {
  const ask: Ask = { mesh, logged, side, namespace };
  const row = ROWS.find(([is]) => is(logged));
  if (row !== undefined) return row[1](ask);
  if (logged.details === 'via_upstream') {
    const who = side === 'inbound' ? 'the application' : where(ask);
    return { outcome: `${who} answered ${logged.code}`, hint: logged.code >= 400 ? `look at the log of ${who}` : '', passedOn: true };
  }
  if (logged.details === 'direct_response')
    return finding('a route answered by itself', rules(ask), 'directResponse or redirect of a VirtualService');
  const words = logged.details || logged.termination || 'nothing in the log says why';
  return { outcome: `${logged.code === 0 ? 'the connection ended' : `answered ${logged.code}`}: ${words}`, hint: '' };
};
