// Several services of one host seen as one: a Kubernetes Service wins, entries of one namespace that agree in everything but their ports
// are joined, of all others the first stays.

import { type Endpoint, localityKey, type Service } from './service.ts';

/** Only the given ports; undefined when it has none of them. */
export const trimmedTo = <S extends Pick<Service, 'ports'>>(s: S, ports: ReadonlySet<number>): S | undefined => {
  const kept = s.ports.filter((p) => ports.has(p.port));
  return kept.length === 0 ? undefined : kept.length === s.ports.length ? s : { ...s, ports: kept };
};

export const addService = (known: Map<string, Service>, s: Service): void => {
  const existing = known.get(s.host);
  if (existing === undefined || (existing.registry !== 'Kubernetes' && s.registry === 'Kubernetes')) known.set(s.host, s);
  else if (existing !== s && canJoin(existing, s)) known.set(s.host, join(existing, s));
};

/** Do they agree in everything but ports? */
export const canJoin = (a: Service, b: Service): boolean =>
  a.namespace === b.namespace &&
  a.registry === b.registry &&
  a.resolution === b.resolution &&
  same(a.labels, b.labels) &&
  same(a.selector, b.selector) &&
  a.exportTo.length === b.exportTo.length &&
  a.exportTo.every((e) => b.exportTo.includes(e));

const same = (a: Readonly<Record<string, string>> | undefined, b: Readonly<Record<string, string>> | undefined): boolean => {
  const x = Object.entries(a ?? {});
  return x.length === Object.keys(b ?? {}).length && x.every(([k, v]) => b?.[k] === v);
};

const join = (a: Service, b: Service): Service => {
  const known = new Set(a.ports.map((p) => p.port));
  const ports = [...a.ports, ...b.ports.filter((p) => !known.has(p.port))];
  if (a.endpoints === b.endpoints) return { ...a, ports };
  const endpoints = new Map(a.endpoints);
  for (const [port, list] of b.endpoints) endpoints.set(port, withoutRepeats(endpoints.get(port) ?? [], list));
  return { ...a, ports, endpoints };
};

/** One endpoint is listed once, however many entries name it. */
const withoutRepeats = (a: readonly Endpoint[], b: readonly Endpoint[]): readonly Endpoint[] => {
  const key = (e: Endpoint): string => `${e.address} ${e.port} ${e.workload} ${localityKey(e.locality)}`;
  const keys = new Set(a.map(key));
  return [...a, ...b.filter((e) => !keys.has(key(e)))];
};
