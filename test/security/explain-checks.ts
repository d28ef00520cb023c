// Denials on the live shop, each seeded by an object and explained afterwards: by its request id from the access logs of the sidecars, and
// beforehand by `skein authz check`. Both must name the right object and line. And the audit log, of which a line is removed.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mesh } from '../integration/mesh.ts';
import { eventually } from '../integration/suite.ts';
import { answers, call, whileTextApplied } from './calls.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';
import { Issuer, strangersKey } from './issuer.ts';

const PAYMENT = 'http://payment-service.production:8080';

export interface Place {
  readonly kind: string;
  readonly name: string;
  readonly line: number;
}

interface Seeded {
  readonly name: string;
  /** Applied from standard input. */
  readonly text: string;
  readonly from: string;
  readonly url: string;
  readonly words?: readonly string[];
  readonly status: number;
  readonly place: Place;
  /** For `skein authz check`; undefined: the answer depends on what it is not told. */
  readonly check?: readonly string[];
}

const policy = (name: string, spec: string, namespace = 'production'): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec:\n${spec}\n`;

const SELECT = '  selector: { matchLabels: { app: payment-service } }\n';
const place = (name: string, line: number): Place => ({ kind: 'AuthorizationPolicy', name, line });
const ORDER = ['--from', 'order-service', '--to', 'payment-service:8080'] as const;

const TABLE: readonly Seeded[] = [
  {
    name: 'a DENY rule',
    text: policy(
      'seed-deny',
      `${SELECT}  action: DENY\n  rules:\n    - to: [{ operation: { paths: [/nothing] } }]\n    - to: [{ operation: { paths: [/version] } }]`,
    ),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-deny', 9),
    check: [...ORDER, '--path', '/version'],
  },
  {
    name: 'no ALLOW rule',
    text: policy(
      'seed-allow',
      `${SELECT}  rules:\n    - from: [{ source: { principals: ["*/sa/nobody"] } }]\n    - to: [{ operation: { methods: [PUT] } }]\n      from: [{ source: { principals: ["*/sa/order-service"] } }]`,
    ),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-allow', 8),
    check: [...ORDER, '--path', '/version'],
  },
  {
    name: 'deny-all',
    text: policy('seed-all', `${SELECT.trimEnd()}`),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-all', 1),
    check: ORDER,
  },
  {
    name: 'a namespace',
    text: policy('seed-namespace', `${SELECT}  rules:\n    - from:\n        - source: { namespaces: [production] }`),
    from: 'visitor',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-namespace', 7),
    check: ['--from', 'visitor', '--to', 'payment-service:8080'],
  },
  {
    name: 'the root namespace',
    text: policy('seed-root', '  action: DENY\n  rules:\n    - to: [{ operation: { paths: [/seeded-root] } }]', 'istio-system'),
    from: 'order-service',
    url: `${PAYMENT}/seeded-root`,
    status: 403,
    place: place('seed-root', 7),
    check: [...ORDER, '--path', '/seeded-root'],
  },
  {
    name: 'a port',
    text: policy('seed-port', `${SELECT}  rules:\n    - to: [{ operation: { ports: ["1"] } }]`),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-port', 7),
    check: ORDER,
  },
  {
    name: 'a path template',
    text: policy('seed-template', `${SELECT}  action: DENY\n  rules:\n    - to: [{ operation: { paths: ["/a/{*}/c"] } }]`),
    from: 'order-service',
    url: `${PAYMENT}/a/b/c`,
    status: 403,
    place: place('seed-template', 8),
    check: [...ORDER, '--path', '/a/b/c'],
  },
  {
    name: 'a token that is missing',
    text: policy('seed-token', `${SELECT}  rules:\n    - from: [{ source: { requestPrincipals: ["*"] } }]`),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-token', 7),
    check: ORDER,
  },
  {
    name: 'an authorizer that cannot be asked',
    text: policy(
      'seed-custom',
      `${SELECT}  action: CUSTOM\n  provider: { name: nobody }\n  rules:\n    - to: [{ operation: { paths: [/version] } }]`,
    ),
    from: 'order-service',
    url: `${PAYMENT}/version`,
    status: 403,
    place: place('seed-custom', 9),
    check: [...ORDER, '--path', '/version'],
  },
];

export const checks: Checks = (context) => context.proxies.flatMap((proxy) => [...live(context, proxy)]);

function* live(context: SecurityContext, proxy: ProxyKind): Iterable<SecurityCheck> {
  const check = (name: string, look: (mesh: Mesh) => Promise<string>): SecurityCheck => ({
    line: 7,
    name,
    proxy,
    needs: proxy === 'envoy' ? ['namespaces', 'envoy'] : ['namespaces'],
    run: async () => look(await context.shop(proxy)),
  });
  // In parts: Envoy's access log may let each of them wait for 10 s.
  const half = Math.ceil(TABLE.length / 2);
  for (const part of [TABLE.slice(0, half), TABLE.slice(half)]) {
    yield check(`seeded denials are explained with object and line: ${part.map((p) => p.name).join(', ')}`, async (mesh) => {
      for (const seeded of part) await whileTextApplied(mesh, seeded.text, () => denied(mesh, seeded));
      return `${part.length} denials`;
    });
  }
  yield check('seeded denials are explained with object and line: a token with a bad signature', async (mesh) => {
    await badToken(mesh, context);
    return '1 denial';
  });
  yield check('what sidecars have denied is in the audit log: who, where, why', deniedInAudit);
  yield check(
    'a TCP connection that was refused is in the audit log with policy, rule and line, and explained by its address',
    refusedConnection,
  );
  yield check('the audit log knows what was seeded, and misses a line that is removed', (mesh) => audited(mesh, context));
}

const denied = async (mesh: Mesh, { name, from, url, words = [], status, place: wanted, check }: Seeded): Promise<void> => {
  const caller = await replica(mesh, from);
  await answers(mesh, caller, { status }, ...words, url);
  await explains(mesh, name, caller, [...words, url], wanted);
  if (check === undefined) return;
  const asked = await mesh.skein('authz', 'check', ...check, '-o', 'json');
  if (asked.code !== 1) throw new Error(`${name}: authz check: exit ${asked.code} ${asked.out}${asked.err}`);
  same(`${name}: authz check`, (JSON.parse(asked.out) as { decidedBy?: Place }).decidedBy, wanted);
};

interface Told {
  readonly decisive?: { readonly explanation: { readonly decidedBy?: Place } };
  readonly entries: readonly { readonly logged: { readonly proxy: string; readonly details: string } }[];
}

/** One more request with an id of its own, looked up in the logs, which Envoy writes every 10 s; another, where a replica that took it had the configuration of before. */
export const explains = async (
  mesh: Mesh,
  name: string,
  caller: string,
  words: readonly string[],
  wanted: Place,
  // Who calls and who is called, or the caller alone.
  entriesMin = 2,
): Promise<void> => {
  await eventually(`${name}: the request is explained`, 40_000, async () => {
    const id = crypto.randomUUID();
    await call(mesh, caller, '-H', `x-request-id: ${id}`, ...words);
    await eventually(`${name}: the request is in the logs`, 12_000, async () => {
      const { out } = await mesh.skein('explain', id, '-o', 'json');
      return out !== '' && (JSON.parse(out) as Told).entries.length >= entriesMin ? true : undefined;
    });
    const { code, out, err } = await mesh.skein('explain', id, '-o', 'json');
    if (code !== 0) throw new Error(`explain: exit ${code} ${out}${err}`);
    const { decisive, entries } = JSON.parse(out) as Told;
    same(`${name} (${entries.map((e) => `${e.logged.proxy} ${e.logged.details}`).join('; ')})`, decisive?.explanation.decidedBy, wanted);
    return true;
  });
};

const same = (name: string, found: Place | undefined, wanted: Place): void => {
  const text = (p: Place | undefined): string => (p === undefined ? 'nobody' : `${p.kind} ${p.name}:${p.line}`);
  if (text(found) !== text(wanted)) throw new Error(`${name}: ${text(found)} is named, not ${text(wanted)}`);
};

const badToken = async (mesh: Mesh, context: SecurityContext): Promise<void> => {
  await using issuer = await new Issuer(context.issuers).start();
  const text = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: seed-tokens, namespace: production }
spec:
  selector: { matchLabels: { app: payment-service } }
  jwtRules:
    - issuer: https://auth.example.com
      jwksUri: ${issuer.jwksUri}
`;
  const words = ['-H', `authorization: Bearer ${issuer.token({}, strangersKey)}`, `${PAYMENT}/version`];
  await whileTextApplied(mesh, text, async () => {
    const caller = await replica(mesh, 'order-service');
    await answers(mesh, caller, { status: 401 }, ...words);
    await explains(mesh, 'a bad signature', caller, words, { kind: 'RequestAuthentication', name: 'seed-tokens', line: 7 });
  });
};

interface Denial {
  readonly door: string;
  readonly at?: string;
  readonly who: string;
  readonly code: string;
  readonly reason: string;
}

const deniedInAudit = (mesh: Mesh): Promise<string> =>
  whileTextApplied(mesh, policy('seed-audit', SELECT.trimEnd()), async () => {
    await answers(mesh, await replica(mesh, 'order-service'), { status: 403 }, `${PAYMENT}/version`);
    return await eventually('the denial is in the audit log', 20_000, async () => {
      const { out } = await mesh.skein('audit', 'show', '--type', 'denial', '-o', 'json');
      const told = (JSON.parse(out) as Denial[]).filter((entry) => entry.door === 'sidecar');
      const wanted = told.filter(
        (e) =>
          e.code === '403' &&
          e.reason.startsWith('rbac_access_denied_matched_policy[') &&
          /^payment-.*\.production$/.test(e.at ?? '') &&
          e.who.endsWith('/ns/production/sa/order-service'),
      );
      return wanted.length > 0 ? `${wanted.length} of this caller, ${told.length} in all` : undefined;
    });
  });

const refusedConnection = (mesh: Mesh): Promise<string> => {
  const rules = '  selector: { matchLabels: { app: stock } }\n  action: DENY\n  rules:\n    - to: [{ operation: { ports: ["1"] } }]';
  const text = policy('seed-tcp', `${rules}\n    - from: [{ source: { principals: ["*/sa/order-service"] } }]`);
  return whileTextApplied(mesh, text, async () => {
    const caller = await replica(mesh, 'order-service');
    const entry = await eventually('the refused connection is in the audit log', 20_000, async () => {
      await call(mesh, caller, 'http://stock:6379/');
      const { out } = await mesh.skein('audit', 'show', '--type', 'denial', '-o', 'json');
      return (JSON.parse(out) as (Denial & Readonly<Record<string, unknown>>)[]).find((e) => e['policy'] === 'production/seed-tcp');
    });
    const said = [entry.code, entry.who.replace(/^.*\/ns\//, ''), entry['rule'], entry['line']].join(' ');
    if (said !== 'connection production/sa/order-service 1 9') throw new Error(`the audit log says: ${JSON.stringify(entry)}`);
    const { code, out, err } = await mesh.skein('explain', '--connection', String(entry['connection']), '-o', 'json');
    if (code !== 0) throw new Error(`explain: exit ${code} ${out}${err}`);
    const { entries } = JSON.parse(out) as { readonly entries: readonly NonNullable<Told['decisive']>[] };
    same('a refused connection', entries.at(-1)?.explanation.decidedBy, place('seed-tcp', 9));
    return `${String(entry['connection'])} to ${String(entry['to'])}`;
  });
};

const replica = async (mesh: Mesh, app: string): Promise<string> => (await mesh.workload(app)).name;

const audited = async (mesh: Mesh, context: SecurityContext): Promise<string> => {
  const shown = await mesh.skein('audit', 'show', '--name', 'seed-deny', '-o', 'json');
  const actions = (JSON.parse(shown.out) as { action: string; by: { who?: string } }[]).map((e) => `${e.action} by ${e.by.who}`);
  for (const wanted of ['created by local user', 'deleted by local user'])
    if (!actions.includes(wanted)) throw new Error(`the audit log says ${JSON.stringify(actions)}`);
  const copy = join(context.scratch, `audit-${crypto.randomUUID()}`);
  cpSync(join(mesh.state, 'audit'), copy, { recursive: true });
  const whole = await mesh.skein('audit', 'verify', '--dir', copy);
  if (whole.code !== 0) throw new Error(`verify: exit ${whole.code} ${whole.out}${whole.err}`);
  const file = join(copy, 'audit.log');
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.splice(2, 1);
  writeFileSync(file, lines.join('\n'));
  const cut = await mesh.skein('audit', 'verify', '--dir', copy);
  if (cut.code !== 1 || !/entry 3 was removed/.test(cut.out))
    throw new Error(`verify after a line was removed: exit ${cut.code} ${cut.out}`);
  return `${lines.length} entries`;
};
