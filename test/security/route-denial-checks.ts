// Requests of the live shop that no policy refused and that still failed: by a fault, a route, a Sidecar, a circuit breaker, a limit, a host
// that is not there, a caller in plain text. Each is explained by its request id with the object and line that decided.
import type { Mesh } from '../integration/mesh.ts';
import { answers, call, whileTextApplied } from './calls.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';
import { explains, type Place } from './explain-checks.ts';

const PAYMENT = 'http://payment-service.production:8080';

interface Seeded {
  readonly name: string;
  readonly text: string;
  readonly url: string;
  readonly words?: readonly string[];
  readonly status: number;
  readonly place: Place;
  /** Lines of the log with the request: absent, the caller's sidecar alone has it. */
  readonly entries?: number;
}

const object = (kind: string, name: string, spec: string): string =>
  `apiVersion: networking.istio.io/${kind === 'EnvoyFilter' ? 'v1alpha3' : 'v1'}\nkind: ${kind}\nmetadata: { name: ${name}, namespace: production }\nspec:\n${spec}\n`;
const TO_PAYMENT = 'route: [{ destination: { host: payment-service } }]';
const place = (kind: string, name: string, line: number): Place => ({ kind, name, line });

const TABLE: readonly Seeded[] = [
  {
    name: 'a fault, in the second of three rules without names',
    text: object(
      'VirtualService',
      'seed-fault',
      `  hosts: [payment-service]
  http:
    - match: [{ uri: { prefix: /never } }]
      fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
      ${TO_PAYMENT}
    - match: [{ uri: { prefix: /seeded } }]
      fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
      ${TO_PAYMENT}
    - ${TO_PAYMENT}`,
    ),
    url: `${PAYMENT}/seeded`,
    status: 418,
    place: place('VirtualService', 'seed-fault', 11),
  },
  {
    name: 'no route',
    text: object(
      'VirtualService',
      'seed-route',
      `  hosts: [payment-service]\n  http:\n    - match: [{ uri: { exact: /version } }]\n      ${TO_PAYMENT}`,
    ),
    url: `${PAYMENT}/seeded`,
    status: 404,
    place: place('VirtualService', 'seed-route', 1),
  },
  {
    name: 'a direct response',
    text: object(
      'VirtualService',
      'seed-direct',
      `  hosts: [payment-service]\n  http:\n    - match: [{ uri: { prefix: /seeded } }]\n      directResponse: { status: 451 }\n    - ${TO_PAYMENT}`,
    ),
    url: `${PAYMENT}/seeded`,
    status: 451,
    place: place('VirtualService', 'seed-direct', 8),
  },
  {
    name: 'a subset without hosts',
    text: `${object('DestinationRule', 'seed-subset', '  host: payment-service\n  subsets:\n    - name: v1\n      labels: { version: v1 }\n    - name: v9\n      labels: { version: v9 }')}---
${object('VirtualService', 'seed-subset', '  hosts: [payment-service]\n  http: [{ route: [{ destination: { host: payment-service, subset: v9 } }] }]')}`,
    url: `${PAYMENT}/version`,
    status: 503,
    place: place('DestinationRule', 'seed-subset', 9),
  },
  {
    name: 'a name that the Sidecar does not import',
    text: object(
      'Sidecar',
      'seed-sidecar',
      '  workloadSelector: { labels: { app: order-service } }\n  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n  egress:\n    - hosts: ["./user-service.production.svc.cluster.local"]',
    ),
    url: `${PAYMENT}/version`,
    status: 502,
    place: place('Sidecar', 'seed-sidecar', 8),
  },
  {
    name: 'a name that nobody knows, REGISTRY_ONLY',
    text: object(
      'Sidecar',
      'seed-registry',
      '  workloadSelector: { labels: { app: order-service } }\n  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n  egress: [{ hosts: ["*/*"] }]',
    ),
    url: 'http://unknown.example:8080/',
    words: ['--resolve', 'unknown.example:8080:192.0.2.7'],
    status: 502,
    place: place('Sidecar', 'seed-registry', 6),
  },
  {
    name: 'plain text to a STRICT port',
    text: `${object('DestinationRule', 'seed-plain', '  host: payment-service\n  trafficPolicy:\n    tls: { mode: DISABLE }')}---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: seed-plain, namespace: production }
spec: { selector: { matchLabels: { app: payment-service } }, mtls: { mode: STRICT } }
`,
    url: `${PAYMENT}/version`,
    status: 503,
    place: place('DestinationRule', 'seed-plain', 7),
  },
  {
    name: 'a rate limit',
    text: object(
      'EnvoyFilter',
      'seed-limit',
      `  workloadSelector: { labels: { app: payment-service } }
  configPatches:
    - applyTo: HTTP_FILTER
      match: { context: SIDECAR_INBOUND }
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: seeded
            token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: 86400s }
            filter_enabled: { default_value: { numerator: 100 } }
            filter_enforced: { default_value: { numerator: 100 } }`,
    ),
    url: `${PAYMENT}/version`,
    status: 429,
    place: place('EnvoyFilter', 'seed-limit', 7),
    entries: 2,
  },
];

export const checks: Checks = (context) => context.proxies.flatMap((proxy) => [...live(context, proxy)]);

function* live(context: SecurityContext, proxy: ProxyKind): Iterable<SecurityCheck> {
  // In parts: Envoy's access log may let each of them wait for 10 s.
  const half = Math.ceil(TABLE.length / 2);
  for (const part of context.short ? [TABLE.slice(half)] : [TABLE.slice(0, half), TABLE.slice(half)])
    yield {
      line: 7,
      name: `seeded failures are explained with object and line: ${part.map((p) => p.name).join(', ')}`,
      proxy,
      needs: proxy === 'envoy' ? ['namespaces', 'envoy', 'time'] : ['namespaces'],
      run: async () => {
        const mesh = await context.shop(proxy);
        for (const seeded of part) await whileTextApplied(mesh, seeded.text, () => failed(mesh, seeded));
        return `${part.length} failures`;
      },
    };
}

const failed = async (mesh: Mesh, { name, url, words = [], status, place: wanted, entries = 1 }: Seeded): Promise<void> => {
  const caller = (await mesh.workload('order-service')).name;
  await answers(mesh, caller, { status }, ...words, url);
  // A replica may have had the configuration of before.
  for (let i = 0; i < 3; i++) await call(mesh, caller, ...words, url);
  await explains(mesh, name, caller, [...words, url], wanted, entries);
};
