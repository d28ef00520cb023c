// Any policies on any request: the filters decide as the words of the API say. The words are carried out here a second time, straight
// from policy and request, without filters.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ofKind } from '../../src/api/resource.ts';
import { err } from '../../src/base/result.ts';
import { buildAuthorization } from '../../src/mesh/authorization.ts';
import { authorizationFilters } from '../../src/translate/authorization-filters.ts';
import { decide } from '../conformance/corpora/rbac-engine.ts';
import { resourceOf } from './mesh-fixture.ts';

type Lists = Readonly<Record<string, readonly string[] | undefined>>;
interface Rule {
  readonly from?: readonly { readonly source: Lists }[];
  readonly to?: readonly { readonly operation: Lists }[];
  readonly when?: readonly { readonly key: string; readonly values?: readonly string[]; readonly notValues?: readonly string[] }[];
}
interface Spec {
  readonly action: 'ALLOW' | 'DENY';
  readonly rules?: readonly Rule[];
}
interface Request {
  readonly method: string;
  readonly path: string;
  readonly destinationPort: number;
  readonly sourceIP: string;
  readonly peerPrincipal?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly jwt?: Readonly<Record<string, unknown>>;
}

const METHODS = ['GET', 'PUT', 'P*', '*T', '*'];
const PATHS = ['/a', '/a/*', '*/b', '*', '/a/{*}', '/{**}'];
const PRINCIPALS = ['td/ns/a/sa/x', 'td/ns/*', '*/sa/x', '*'];
const REQUEST_PRINCIPALS = ['i/s', 'i/*', '*/s', '*'];

const some = (values: readonly string[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const lists = (fields: Readonly<Record<string, readonly string[]>>): fc.Arbitrary<Lists> =>
  fc.record(
    Object.fromEntries(
      Object.entries(fields).flatMap(([name, values]) => [
        [name, maybe(some(values))],
        [`not${name[0]?.toUpperCase()}${name.slice(1)}`, maybe(some(values))],
      ]),
    ),
  );
const source = lists({
  principals: PRINCIPALS,
  namespaces: ['a', 'b*'],
  ipBlocks: ['10.0.0.0/8', '10.0.0.1'],
  requestPrincipals: REQUEST_PRINCIPALS,
});
const operation = lists({ methods: METHODS, paths: PATHS, ports: ['80', '81'] });
const condition = fc.oneof(
  ...(
    [
      ['request.headers[x]', ['1', '*']],
      ['source.namespace', ['a']],
      ['destination.port', ['80']],
      ['request.auth.claims[g]', ['u', 'v*']],
    ] as const
  ).map(([key, values]) => fc.record({ key: fc.constant(key), values: some(values) })),
);
const rule: fc.Arbitrary<Rule> = fc.record(
  {
    from: fc.array(fc.record({ source }), { minLength: 1, maxLength: 2 }),
    to: fc.array(fc.record({ operation }), { minLength: 1, maxLength: 2 }),
    when: fc.array(condition, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const spec: fc.Arbitrary<Spec> = fc.oneof(
  fc.record({ action: fc.constantFrom('ALLOW' as const, 'DENY' as const), rules: fc.array(rule, { minLength: 1, maxLength: 2 }) }),
  fc.constant<Spec>({ action: 'ALLOW' }),
);
const request: fc.Arbitrary<Request> = fc.record(
  {
    method: fc.constantFrom('GET', 'PUT', 'POST'),
    path: fc.constantFrom('/a', '/a/b', '/a/b/c', '/', '/a?x=/b'),
    destinationPort: fc.constantFrom(80, 81, 82),
    sourceIP: fc.constantFrom('10.0.0.1', '10.0.0.2', '9.0.0.1'),
    peerPrincipal: fc.constantFrom('spiffe://td/ns/a/sa/x', 'spiffe://td/ns/bc/sa/y', 'spiffe://other/ns/c/sa/x'),
    headers: fc.constantFrom({}, { x: '1' }, { x: '2' }),
    jwt: fc.constantFrom(
      { iss: 'i', sub: 's', g: 'u' },
      { iss: 'i', sub: 't', g: ['w', 'vv'] },
      { iss: 'j', sub: 's', g: 1 },
      { sub: 's' },
    ),
  },
  { requiredKeys: ['method', 'path', 'destinationPort', 'sourceIP', 'headers'] },
);

const text = (pattern: string, value: string): boolean => {
  if (pattern === '*') return value !== '';
  if (pattern.startsWith('*')) return value.endsWith(pattern.slice(1));
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : pattern === value;
};
const path = (pattern: string, whole: string): boolean => {
  const value = whole.split('?')[0] ?? '';
  if (pattern === '/a/{*}') return /^\/a\/[^/]+$/.test(value);
  return pattern === '/{**}' ? value.startsWith('/') : text(pattern, value);
};
const spiffe = (r: Request): string | undefined => r.peerPrincipal?.slice('spiffe://'.length);
const claims = (r: Request, name: string): readonly unknown[] => [r.jwt?.[name]].flat();
const known = (v: unknown): v is string => typeof v === 'string';

type Check = (pattern: string, r: Request) => boolean;
const principal: Check = (p, r) => spiffe(r) !== undefined && text(p, spiffe(r) ?? '');
const namespace: Check = (p, r) => text(p, spiffe(r)?.split('/')[2] ?? '');
const requestPrincipal: Check = (p, r) => {
  const [iss, sub] = [r.jwt?.['iss'], r.jwt?.['sub']];
  if (!known(iss) || !known(sub)) return false;
  const [issuer = '', subject = ''] = p === '*' ? ['*', '*'] : p.split('/');
  return text(issuer, iss) && text(subject, sub);
};
const CHECKS: Readonly<Record<string, readonly [httpOnly: boolean, check: Check]>> = {
  principals: [false, principal],
  namespaces: [false, namespace],
  ipBlocks: [false, (p, r) => (p === '10.0.0.0/8' ? r.sourceIP.startsWith('10.') : p === r.sourceIP)],
  requestPrincipals: [true, requestPrincipal],
  methods: [true, (p, r) => text(p, r.method)],
  paths: [true, (p, r) => path(p, r.path)],
  ports: [false, (p, r) => Number(p) === r.destinationPort],
  'request.headers[x]': [true, (p, r) => r.headers['x'] !== undefined && text(p, r.headers['x'])],
  'source.namespace': [false, namespace],
  'destination.port': [false, (p, r) => Number(p) === r.destinationPort],
  'request.auth.claims[g]': [true, (p, r) => claims(r, 'g').some((v) => known(v) && text(p, v))],
};

/** What of a block holds; undefined: it cannot be told on this connection. */
const holds = (fields: Lists, r: Request, tcp: boolean): readonly (boolean | undefined)[] =>
  Object.entries(fields).map(([field, values]) => {
    if (values === undefined) return true;
    const not = field.startsWith('not');
    const [httpOnly, check] = CHECKS[not ? `${field[3]?.toLowerCase()}${field.slice(4)}` : field] ?? assert.fail(field);
    if (httpOnly && tcp) return undefined;
    return values.some((v) => check(v, r)) !== not;
  });

const matches = (x: Rule, action: Spec['action'], r: Request, tcp: boolean): boolean => {
  const when = (x.when ?? []).flatMap((w) => holds({ [w.key]: w.values }, r, tcp));
  const from = (x.from ?? [{ source: {} }]).map((f) => holds(f.source, r, tcp));
  const to = (x.to ?? [{ operation: {} }]).map((t) => holds(t.operation, r, tcp));
  const untold = [...when, ...from.flat(), ...to.flat()].includes(undefined);
  if (untold && action === 'ALLOW') return false;
  const every = (list: readonly (boolean | undefined)[]): boolean => list.every((h) => h !== false);
  return every(when) && from.some(every) && to.some(every);
};

const decides = (specs: readonly Spec[], r: Request, tcp: boolean): 'ALLOW' | 'DENY' => {
  const hit = (action: Spec['action']): boolean =>
    specs.some((s) => s.action === action && (s.rules ?? []).some((x) => matches(x, action, r, tcp)));
  if (hit('DENY')) return 'DENY';
  return !specs.some((s) => s.action === 'ALLOW') || hit('ALLOW') ? 'ALLOW' : 'DENY';
};

test('filters decide any request as the policies say, in HTTP and on plain connections', () => {
  let allowed = 0;
  let denied = 0;
  fc.assert(
    fc.property(
      fc.array(spec, { maxLength: 3 }),
      fc.array(request, { minLength: 4, maxLength: 8 }),
      fc.boolean(),
      (specs, requests, tcp) => {
        const resources = specs.map((s, i) =>
          resourceOf({ kind: 'AuthorizationPolicy', metadata: { name: `p${i}`, namespace: 'ns' }, spec: s }),
        );
        const policies = ofKind(
          resources.filter((p) => p !== undefined),
          'AuthorizationPolicy',
        );
        const mine = buildAuthorization(policies, 'root').forWorkload({ namespace: 'ns', labels: {} });
        const filters = authorizationFilters(mine, tcp, { trustDomains: ['td'], authorizer: () => err('none') });
        for (const r of requests) {
          const want = decides(specs, r, tcp);
          if (want === 'ALLOW') allowed++;
          else denied++;
          assert.equal(decide(filters, { ...r, host: 'h' }).decision, want, JSON.stringify({ r, tcp }));
        }
      },
    ),
    { numRuns: 1500 },
  );
  assert.ok(allowed > 500 && denied > 500, `both answers are seen: ${allowed} allowed, ${denied} denied`);
});
