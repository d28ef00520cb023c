// simulation.json: which listener, filter chain, route and cluster each call reaches.

import { type Adapter, type Case, type Row, row, rows, text, type Verdict } from './case.ts';
import { configOf, proxyOf } from './corpus-mesh.ts';
import { type Call, type Outcome, simulate } from './simulate.ts';

const FIELDS = [
  'listenerMatched',
  'filterChainMatched',
  'routeConfigMatched',
  'virtualHostMatched',
  'routeMatched',
  'clusterMatched',
] as const;

export const simulation: Adapter = (corpus) => corpus.rows.flatMap(casesOf);

const casesOf = (r: Row): Case[] => {
  const input = { yaml: text(r['config']), kubernetes: text(r['kubeConfig']), objects: rows(r['configObjects']) };
  // Cluster names of these cases carry no cluster domain.
  const config = once(() => configOf(proxyOf(r['proxy']), input, row(r['meshConfig']), ''));
  return rows(r['calls']).map((c) => ({
    id: `${text(r['id'])}/${text(c['name'])}`,
    run: () => judge(simulate(config(), c['call'] as Call), row(c['result'])),
  }));
};

const judge = (got: Outcome, expected: Row): Verdict => {
  const wrong =
    (got.error ?? '') !== text(expected['error']) ||
    FIELDS.some((f) => (expected[f] !== undefined || expected['strictMatch'] === true) && text(expected[f]) !== (got[f] ?? ''));
  return wrong ? { expected, got } : undefined;
};

const once = <T>(make: () => T): (() => T) => {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
};
