// The rules of translation, each by a small mesh of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instance } from '../../src/mesh/instance.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import { encode } from '../../src/xds/codec.ts';
import type { Cluster, Listener, Route, RouteConfiguration } from '../../src/xds/gen/types.ts';
import { type Call, simulate } from '../conformance/corpora/simulate.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

const instance = (name: string, address: string, over: Partial<Instance> = {}): Instance => {
  const app = name.replace(/-v?\d.*$/, '');
  return {
    name,
    namespace: 'shop',
    workload: app,
    address,
    labels: { app, version: 'v1' },
    serviceAccount: app,
    ports: [{ name: 'http', port: 8080 }],
    ready: true,
    meshed: true,
    ...over,
  };
};

const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, selector: {app: pay}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.9.2, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: auto, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp-redis, port: 6379}]}
`;
const INSTANCES = [
  instance('web-0', '10.244.0.1'),
  instance('pay-v1-0', '10.244.0.2'),
  instance('pay-v2-0', '10.244.0.3', { labels: { app: 'pay', version: 'v2' } }),
  instance('pay-v1-1', '10.244.0.4', { ready: false }),
  instance('db-0', '10.244.0.5', { meshed: false }),
];

const WEB = {
  id: 'sidecar~10.244.0.1~web-0.shop~shop.svc.cluster.local',
  metadata: { NAMESPACE: 'shop', LABELS: { app: 'web' }, INSTANCE_IPS: '10.244.0.1' },
};
const GATEWAY = {
  id: 'router~10.244.0.9~gw.istio-system~istio-system.svc.cluster.local',
  metadata: { NAMESPACE: 'istio-system', LABELS: { istio: 'ingressgateway' } },
};

const configure = (
  yaml: string,
  node: object = WEB,
  mesh: Record<string, unknown> = {},
  instances: readonly Instance[] = INSTANCES,
): ProxyConfig => {
  const { snapshot } = buildSnapshot({ resources: resourcesOf(SERVICES + yaml), instances, meshConfig: meshConfigOf(mesh) });
  const parsed = parseNode(node);
  assert.ok(parsed);
  const config = translate(snapshot, parsed);
  for (const c of config.clusters) encode('envoy.config.cluster.v3.Cluster', c);
  for (const l of config.listeners) encode('envoy.config.listener.v3.Listener', l);
  for (const r of config.routes) encode('envoy.config.route.v3.RouteConfiguration', r);
  return config;
};

const named = <T extends { readonly name?: string | undefined }>(list: readonly T[], name: string): T => {
  const found = list.find((x) => x.name === name);
  assert.ok(found, `${name} among ${list.map((x) => x.name).join(', ')}`);
  return found;
};
const cluster = (c: ProxyConfig, name: string): Cluster => named(c.clusters, name);
const listener = (c: ProxyConfig, name: string): Listener => named(c.listeners, name);
const routesOf = (rc: RouteConfiguration, host: string): readonly Route[] => named(rc.virtual_hosts ?? [], host).routes ?? [];
const PAY = 'pay.shop.svc.cluster.local';
const payRoutes = (c: ProxyConfig): readonly Route[] => routesOf(named(c.routes, '80'), `${PAY}:80`);

const vs = (spec: string, name = 'pay'): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}, namespace: shop}\nspec:\n${spec}\n`;
const dr = (spec: string): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: pay, namespace: shop}\nspec:\n  host: pay\n${spec}\n`;
const pa = (spec: string): string =>
  `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: ${spec}\n`;
const gateway = (servers: string): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: istio-system}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n${servers}\n`;

const DEFAULT_RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes';

test('only ready endpoints are sent, each with what it proves', () => {
  const c = configure('');
  const cla = c.endpoints.find((e) => e.cluster_name === `outbound|80||${PAY}`);
  const addresses = cla?.endpoints?.flatMap((g) => (g.lb_endpoints ?? []).map((e) => e.endpoint?.address?.socket_address?.address));
  assert.deepEqual(addresses, ['10.244.0.2', '10.244.0.3']);
  assert.deepEqual(cla?.endpoints?.[0]?.lb_endpoints?.[0]?.metadata?.filter_metadata, {
    'envoy.transport_socket_match': { tlsMode: 'istio' },
    istio: { workload: 'pay;shop;pay;v1;Kubernetes' },
  });
});

test('mutual TLS is chosen per endpoint and expects the identities of the endpoints', () => {
  const c = cluster(configure(''), `outbound|80||${PAY}`);
  const match = c.transport_socket_matches?.[0];
  const text = JSON.stringify(match?.transport_socket);
  assert.ok(text.includes('spiffe://cluster.local/ns/shop/sa/pay'));
  assert.ok(text.includes(`outbound_.80_._.${PAY}`));
  assert.deepEqual(
    c.transport_socket_matches?.map((m) => m.name),
    ['tlsMode-istio', 'tlsMode-disabled'],
  );
});

test('a namespace that disables mutual TLS is called in plaintext, and a rule can insist on it', () => {
  const off = configure(pa('{mtls: {mode: DISABLE}}'));
  assert.equal(cluster(off, `outbound|80||${PAY}`).transport_socket_matches, undefined);
  assert.ok(!JSON.stringify(off.endpoints).includes('tlsMode'));
  const on = configure(pa('{mtls: {mode: DISABLE}}') + dr('  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}'));
  assert.ok(cluster(on, `outbound|80||${PAY}`).transport_socket);
});

test('a rule without tls keeps automatic mutual TLS; DISABLE forces plaintext', () => {
  assert.ok(cluster(configure(dr('  trafficPolicy: {loadBalancer: {simple: RANDOM}}')), `outbound|80||${PAY}`).transport_socket_matches);
  const plain = cluster(configure(dr('  trafficPolicy: {tls: {mode: DISABLE}}')), `outbound|80||${PAY}`);
  assert.equal(plain.transport_socket_matches ?? plain.transport_socket, undefined);
});

test('subsets become clusters with their own policy; port levels replace whole blocks', () => {
  const c = configure(
    dr(`  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 5}}
    outlierDetection: {consecutive5xxErrors: 3, baseEjectionTime: 10s}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}]
  subsets: [{name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]`),
  );
  const whole = cluster(c, `outbound|80||${PAY}`);
  assert.equal(whole.lb_policy, 'ROUND_ROBIN');
  assert.equal(whole.outlier_detection, undefined);
  assert.equal(whole.circuit_breakers?.thresholds?.[0]?.max_connections, 4_294_967_295);
  assert.equal(cluster(c, `outbound|80|v2|${PAY}`).lb_policy, 'RANDOM');
  const members = c.endpoints.find((e) => e.cluster_name === `outbound|80|v2|${PAY}`)?.endpoints?.[0]?.lb_endpoints;
  assert.equal(members?.length, 1);
});

test('zeros in pools mean unset, outlier detection enforces what is asked for', () => {
  const c = cluster(
    configure(
      dr(
        '  trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 0, maxRequestsPerConnection: 1}}, outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, maxEjectionPercent: 50}}',
      ),
    ),
    `outbound|80||${PAY}`,
  );
  assert.equal(c.circuit_breakers?.thresholds?.[0]?.max_pending_requests, 4_294_967_295);
  assert.deepEqual(c.outlier_detection, {
    enforcing_success_rate: 0,
    consecutive_5xx: 0,
    enforcing_consecutive_5xx: 0,
    consecutive_gateway_failure: 2,
    enforcing_consecutive_gateway_failure: 100,
    max_ejection_percent: 50,
  });
  assert.ok(JSON.stringify(c.typed_extension_protocol_options).includes('"max_requests_per_connection":1'));
});

test('consistent hashing needs a ring and a key on the route', () => {
  const c = configure(
    dr('  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 60s}, ringHash: {minimumRingSize: 64}}}}') +
      vs('  hosts: [pay]\n  http: [{route: [{destination: {host: pay}}]}]'),
  );
  assert.deepEqual(cluster(c, `outbound|80||${PAY}`).ring_hash_lb_config, { minimum_ring_size: 64 });
  const action = payRoutes(c)[0]?.route;
  assert.deepEqual(action?.hash_policy, [{ cookie: { name: 'u', ttl: '60s' } }]);
  assert.equal(action?.retry_policy?.retry_host_predicate, undefined);
});

test('a service without rules has one route with the default retries', () => {
  const [route, ...rest] = payRoutes(configure(''));
  assert.equal(rest.length, 0);
  assert.equal(route?.name, 'default');
  assert.equal(route?.route?.retry_policy?.retry_on, DEFAULT_RETRY_ON);
  assert.equal(route?.route?.timeout, '0s');
});

test('matches, weights, timeouts, retries and header changes of a rule', () => {
  const routes = payRoutes(
    configure(
      vs(`  hosts: [pay]
  http:
  - name: canary
    match: [{headers: {x-canary: {exact: 'true'}}, queryParams: {q: {}}, uri: {exact: /a}, method: {exact: GET}, ignoreUriCase: true, withoutHeaders: {x-no: {exact: b}}}]
    route: [{destination: {host: pay, subset: v2}, headers: {request: {add: {b: '2'}}}}]
    headers: {request: {set: {a: '1', host: h.test}, remove: [z]}}
    timeout: 1500ms
    retries: {attempts: 3, retryOn: '5xx,503', perTryTimeout: 250ms}
  - match: [{sourceLabels: {app: nobody}}]
    directResponse: {status: 418}
  - route: [{destination: {host: pay, subset: v1}, weight: 90}, {destination: {host: pay, subset: v2}, weight: 10}, {destination: {host: pay, subset: v3}, weight: 0}]
  - match: [{uri: {prefix: /unreachable}}]
    directResponse: {status: 200}`),
    ),
  );
  assert.equal(routes.length, 2);
  const [canary, rest] = routes;
  assert.deepEqual(canary?.match, {
    path: '/a',
    case_sensitive: false,
    headers: [
      { name: 'x-canary', string_match: { exact: 'true' } },
      { name: 'x-no', string_match: { exact: 'b' }, invert_match: true, treat_missing_header_as_empty: true },
      { name: ':method', string_match: { exact: 'GET' } },
    ],
    query_parameters: [{ name: 'q', present_match: true }],
  });
  assert.equal(canary?.name, 'canary');
  assert.deepEqual(canary?.request_headers_to_add, [
    { header: { key: 'a', value: '1' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    { header: { key: 'b', value: '2' } },
  ]);
  assert.equal(canary?.route?.host_rewrite_literal, 'h.test');
  assert.equal(canary?.route?.timeout, '1.5s');
  assert.deepEqual(
    [canary?.route?.retry_policy?.num_retries, canary?.route?.retry_policy?.retry_on, canary?.route?.retry_policy?.retriable_status_codes],
    [3, '5xx,retriable-status-codes', [503]],
  );
  assert.deepEqual(
    rest?.route?.weighted_clusters?.clusters?.map((w) => [w.name, w.weight]),
    [
      [`outbound|80|v1|${PAY}`, 90],
      [`outbound|80|v2|${PAY}`, 10],
    ],
  );
});

test('attempts 0 switches retries off; fault shares absent are none, mirror shares absent are all', () => {
  const [route] = payRoutes(
    configure(
      vs(
        '  hosts: [pay]\n  http:\n  - retries: {attempts: 0}\n    fault: {abort: {httpStatus: 500}, delay: {fixedDelay: 2s, percentage: {value: 12.5}}}\n    mirror: {host: web}\n    route: [{destination: {host: pay}}]',
      ),
    ),
  );
  assert.equal(route?.route?.retry_policy, undefined);
  assert.deepEqual(route?.typed_per_filter_config?.['envoy.filters.http.fault'], {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
    delay: { fixed_delay: '2s', percentage: { numerator: 125_000, denominator: 'MILLION' } },
    abort: { percentage: {}, http_status: 500 },
  });
  assert.deepEqual(route?.route?.request_mirror_policies?.[0]?.runtime_fraction, { default_value: { numerator: 100 } });
});

test('redirects, rewrites and direct answers', () => {
  const routes = payRoutes(
    configure(
      vs(`  hosts: [pay]
  http:
  - {match: [{uri: {prefix: /old}}], redirect: {uri: /new, redirectCode: 308, scheme: https, port: 443}}
  - {match: [{uri: {prefix: /port}}], redirect: {derivePort: FROM_REQUEST_PORT}}
  - {match: [{uri: {prefix: /p}}], rewrite: {uri: /q, authority: a.test}, route: [{destination: {host: pay}}]}
  - {match: [{uri: {regex: '/x.*'}}], rewrite: {uriRegexRewrite: {match: '/x(.*)', rewrite: '\\1'}}, route: [{destination: {host: pay}}]}
  - {directResponse: {status: 503, body: {string: down}}}`),
    ),
  );
  assert.deepEqual(routes[0]?.redirect, { path_redirect: '/new', scheme_redirect: 'https', response_code: 'PERMANENT_REDIRECT' });
  assert.deepEqual(routes[1]?.redirect, { path_redirect: '' });
  assert.deepEqual([routes[2]?.route?.prefix_rewrite, routes[2]?.route?.host_rewrite_literal], ['/q', 'a.test']);
  assert.deepEqual(routes[3]?.route?.regex_rewrite, { pattern: { regex: '/x(.*)' }, substitution: '\\1' });
  assert.deepEqual(routes[4]?.direct_response, { status: 503, body: { inline_string: 'down' } });
});

test('a rule none of whose parts concern the proxy leaves the service to itself', () => {
  assert.equal(
    payRoutes(configure(vs('  hosts: [pay]\n  http: [{match: [{sourceNamespace: other}], directResponse: {status: 418}}]')))[0]?.name,
    'default',
  );
});

test('short names are served to the namespace they belong to', () => {
  const hosts = named(named(configure('').routes, '80').virtual_hosts ?? [], `${PAY}:80`).domains;
  assert.deepEqual([...(hosts ?? [])].sort(), ['10.96.9.1', 'pay', 'pay.shop', 'pay.shop.svc', PAY, `${PAY}.`].sort());
});

const reach = (c: ProxyConfig, call: Call): string => {
  const r = simulate(c, call);
  return r.error ?? r.clusterMatched ?? '';
};

test('unknown destinations: refused under REGISTRY_ONLY, passed on under ALLOW_ANY', () => {
  const only = configure('', WEB, { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } });
  const any = configure('', WEB, {});
  assert.equal(reach(only, { port: 4444, protocol: 'tcp' }), 'BlackHoleCluster');
  assert.equal(reach(any, { port: 4444, protocol: 'tcp' }), 'PassthroughCluster');
  assert.equal(reach(any, { port: 80, protocol: 'http', hostHeader: 'no.test' }), 'PassthroughCluster');
  assert.equal(reach(only, { port: 80, protocol: 'http', hostHeader: 'no.test' }), '');
  assert.equal(reach(any, { port: 80, protocol: 'http', hostHeader: 'pay' }), `outbound|80||${PAY}`);
});

test('a port without a known name is detected: HTTP by host, anything else to the service', () => {
  const c = configure('');
  const web = 'web.shop.svc.cluster.local';
  assert.equal(reach(c, { port: 7000, address: '10.96.9.2', protocol: 'http', hostHeader: 'anything' }), `outbound|7000||${web}`);
  assert.equal(reach(c, { port: 7000, address: '10.96.9.2', protocol: 'tcp' }), `outbound|7000||${web}`);
  assert.equal(reach(c, { port: 7000, address: '10.96.9.2', protocol: 'tcp', tls: 'tls', sni: 'x' }), `outbound|7000||${web}`);
});

test('a headless service is reached at each endpoint, by original destination, without TLS to endpoints outside the mesh', () => {
  const c = configure('');
  assert.equal(listener(c, '10.244.0.5_6379').bind_to_port, false);
  const db = cluster(c, 'outbound|6379||db.shop.svc.cluster.local');
  assert.deepEqual([db.type, db.lb_policy, db.transport_socket], ['ORIGINAL_DST', 'CLUSTER_PROVIDED', undefined]);
});

test('inbound chains follow the mode of the port', () => {
  const call = (tls: NonNullable<Call['tls']>, port = 8080): Call => ({
    port,
    protocol: 'http',
    tls,
    callMode: 'inbound',
    hostHeader: 'web',
  });
  const permissive = configure('');
  assert.equal(reach(permissive, call('plaintext')), 'inbound|8080||');
  assert.equal(reach(permissive, call('mtls')), 'inbound|8080||');
  const strict = configure(pa('{mtls: {mode: STRICT}}'));
  assert.equal(reach(strict, call('plaintext')), 'no filter chains matched');
  assert.equal(reach(strict, call('mtls')), 'inbound|8080||');
  assert.equal(reach(strict, call('tls')), 'invalid mTLS');
  const mixed = configure(
    pa('{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 9999: {mode: PERMISSIVE}}}'),
  );
  assert.equal(reach(mixed, call('plaintext')), 'inbound|8080||');
  assert.equal(reach(mixed, call('plaintext', 9999)), 'InboundPassthroughCluster');
  assert.equal(reach(mixed, call('plaintext', 9998)), 'no filter chains matched');
});

test('TCP rules: subnets first, weights, then straight on', () => {
  const tcp = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mq, namespace: shop}
spec: {hosts: [mq.test], addresses: [10.7.0.0/16], ports: [{number: 5672, name: tcp, protocol: TCP}], resolution: NONE}
`;
  const c = configure(
    tcp +
      vs(
        '  hosts: [mq.test]\n  tcp: [{match: [{port: 5672}], route: [{destination: {host: pay, port: {number: 80}}, weight: 1}, {destination: {host: web, port: {number: 80}}, weight: 3}]}]',
        'mq',
      ),
  );
  const chain = listener(c, '0.0.0.0_5672').filter_chains?.[0];
  assert.deepEqual(chain?.filter_chain_match?.prefix_ranges, [{ address_prefix: '10.7.0.0', prefix_len: 16 }]);
  assert.ok(JSON.stringify(chain?.filters).includes('"weight":3'));
  assert.equal(reach(configure(tcp), { port: 5672, address: '10.7.1.1', protocol: 'tcp' }), 'outbound|5672||mq.test');
});

test('gateways join rules of a host and keep catch-alls last', () => {
  const c = configure(
    gateway(
      "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['shop/*.test']}\n  - {port: {number: 81, name: r, protocol: HTTP}, hosts: [a.test], tls: {httpsRedirect: true}}",
    ) +
      vs('  hosts: [a.test]\n  gateways: [istio-system/gw]\n  http: [{route: [{destination: {host: pay}}]}]', 'first') +
      vs(
        "  hosts: ['*']\n  gateways: [istio-system/gw]\n  http: [{match: [{uri: {prefix: /w}}], route: [{destination: {host: web, port: {number: 80}}}]}]",
        'second',
      ) +
      vs(
        '  hosts: [a.test]\n  gateways: [istio-system/gw]\n  http: [{match: [{uri: {prefix: /v}}], route: [{destination: {host: web, port: {number: 80}}}]}]',
        'third',
      ),
    GATEWAY,
  );
  const rc = named(c.routes, 'http.80');
  assert.deepEqual(
    routesOf(rc, 'a.test:80').map((r) => r.match?.prefix),
    ['/v', '/'],
  );
  assert.deepEqual(
    routesOf(rc, '*.test:80').map((r) => r.match?.prefix),
    ['/w'],
  );
  assert.equal(reach(c, { port: 81, protocol: 'http', hostHeader: 'a.test' }), 'tls required, sending 301');
  assert.equal(reach(c, { port: 80, protocol: 'http', hostHeader: 'b.other' }), 'no virtual host matched');
});

test('behind a Service of the gateway the listener stands on the target port', () => {
  const service =
    '---\napiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: istio-system}\nspec: {clusterIP: 10.96.9.9, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}\n';
  const gw = instance('gw-0', '10.244.0.9', { namespace: 'istio-system', labels: { istio: 'ingressgateway' } });
  const c = configure(service + gateway("  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"), GATEWAY, {}, [
    ...INSTANCES,
    gw,
  ]);
  assert.deepEqual(
    c.listeners.map((l) => l.name),
    ['0.0.0.0_8080'],
  );
  assert.deepEqual(
    c.routes.map((r) => [r.name, r.virtual_hosts?.[0]?.name]),
    [['http.8080', 'blackhole:80']],
  );
});

test('filters of Istio go only to proxies that announce them', () => {
  assert.ok(!/istio\.(stats|alpn|metadata_exchange)/.test(JSON.stringify([configure('').listeners, configure('').clusters])));
  const announced = configure('', {
    ...WEB,
    extensions: [{ name: 'istio.stats', type_urls: ['stats.PluginConfig'] }, { name: 'istio.alpn' }],
  });
  const text = JSON.stringify(announced.listeners);
  assert.ok(text.includes('"istio.stats"') && text.includes('"istio.alpn"') && !text.includes('istio.metadata_exchange'));
});

test('names resolve to virtual addresses, headless ones to endpoints', () => {
  const table = configure('').nameTable.table ?? {};
  assert.deepEqual(table[PAY], { ips: ['10.96.9.1'], registry: 'Kubernetes', shortname: 'pay', namespace: 'shop' });
  assert.deepEqual(table['db.shop.svc.cluster.local']?.ips, ['10.244.0.5']);
});

test('localities fail over only where failures are noticed, and weigh by distribution', () => {
  const geo = [
    instance('pay-0', '10.244.1.1', { locality: 'r1/z1/s' }),
    instance('pay-1', '10.244.1.2', { locality: 'r1/z2/s' }),
    instance('pay-2', '10.244.1.3', { locality: 'r2/z1/s' }),
  ];
  const here = { ...WEB, locality: { region: 'r1', zone: 'z1', sub_zone: 's' } };
  const groups = (yaml: string): unknown =>
    configure(yaml, here, {}, geo)
      .endpoints.find((e) => e.cluster_name === `outbound|80||${PAY}`)
      ?.endpoints?.map((g) => [g.priority ?? 0, g.load_balancing_weight]);
  assert.deepEqual(groups(''), [
    [0, 1],
    [0, 1],
    [0, 1],
  ]);
  assert.deepEqual(groups(dr('  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}')), [
    [0, 1],
    [1, 1],
    [2, 1],
  ]);
  assert.deepEqual(
    groups(dr("  trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: 'r1/*', to: {'r1/*': 80, 'r2/*': 20}}]}}}")),
    [
      [0, 40],
      [0, 40],
      [0, 20],
    ],
  );
});

test('access logs are JSON or text as the mesh says', () => {
  const json = JSON.stringify(
    listener(
      configure('', WEB, { accessLogFile: '/dev/stdout', accessLogEncoding: 'JSON', accessLogFormat: '{"s": "%RESPONSE_CODE%"}' }),
      'virtualOutbound',
    ),
  );
  assert.ok(json.includes('"json_format":{"s":"%RESPONSE_CODE%"}') && json.includes('"flags":["NR"]'));
  assert.ok(JSON.stringify(configure('', WEB, { accessLogFile: '/dev/stdout' }).listeners).includes('%UPSTREAM_CLUSTER_RAW%'));
  assert.ok(!JSON.stringify(configure('').listeners).includes('access_loggers'));
});

test('a thousand services are translated for one sidecar within a second', () => {
  const services = Array.from(
    { length: 1000 },
    (_, i) =>
      `---\napiVersion: v1\nkind: Service\nmetadata: {name: s${i}, namespace: shop}\nspec: {selector: {app: s${i}}, ports: [{name: http, port: 80, targetPort: 8080}]}\n`,
  ).join('');
  const instances = Array.from({ length: 1000 }, (_, i) =>
    instance(`s${i}-0`, `10.245.${i >> 8}.${i & 255}`, { labels: { app: `s${i}` } }),
  );
  const { snapshot } = buildSnapshot({ resources: resourcesOf(services), instances, meshConfig: meshConfigOf() });
  const node = parseNode(WEB);
  assert.ok(node);
  // Whichever is less: on a loaded machine the clock counts what others do, and processor time what threads of the runtime do beside.
  const start = performance.now();
  const before = process.cpuUsage();
  const config = translate(snapshot, node);
  const { user, system } = process.cpuUsage(before);
  const took = Math.min(performance.now() - start, (user + system) / 1000);
  assert.ok(took < 1000, `${took} ms`);
  assert.equal(config.endpoints.length, 1000);
});
