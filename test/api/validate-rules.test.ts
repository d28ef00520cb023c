// Semantic rules by own examples: each pair is a spec that Istio takes and a neighbour that it refuses, and why.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { Kind } from '../../src/api/resource.ts';
import { validateSpec } from './validate-spec.ts';

const told = (kind: Kind, spec: string, annotations: Record<string, string> = {}): string[] =>
  validateSpec(kind, parse(spec), { name: 'a', namespace: 'shop', annotations }).map((f) => `${f.severity} ${f.path}: ${f.message}`);

const taken = (kind: Kind, ...specs: string[]): void => {
  for (const spec of specs) assert.deepEqual(told(kind, spec), [], spec);
};
const refused = (kind: Kind, spec: string, why: RegExp): void => {
  const errors = told(kind, spec).filter((f) => f.startsWith('error'));
  assert.ok(errors.length > 0, `taken: ${spec}`);
  assert.match(errors.join('\n'), why);
};
const warned = (kind: Kind, spec: string, why: RegExp): void => {
  const all = told(kind, spec);
  assert.ok(all.length > 0 && all.every((f) => f.startsWith('warning')), all.join('\n'));
  assert.match(all.join('\n'), why);
};

const to = 'route: [{destination: {host: a}}]';
const http = (rule: string): string => `{hosts: [a], http: [{${rule}}]}`;

test('VirtualService: hosts and gateways', () => {
  taken(
    'VirtualService',
    http(to),
    `{hosts: ['*'], gateways: [gw], http: [{${to}}]}`,
    `{hosts: [a, '*.b.c'], gateways: [mesh, ns/gw], http: [{${to}}]}`,
    `{hosts: [10.0.0.1], tcp: [{${to}}]}`,
  );
  refused('VirtualService', `{hosts: ['*'], http: [{${to}}]}`, /spec\.hosts\[0\]: wildcard host \* is not allowed/);
  refused('VirtualService', `{hosts: [a.b, '*.b'], http: [{${to}}]}`, /duplicate hosts/);
  refused('VirtualService', `{hosts: [a], gateways: [n_s/gw], http: [{${to}}]}`, /spec\.gateways\[0\]/);
  refused('VirtualService', '{hosts: [a]}', /http, tcp or tls must be provided/);
  refused('VirtualService', `{gateways: [gw], http: [{${to}}]}`, /delegate and must have no gateways/);
  warned('VirtualService', `{hosts: [a], gateways: [gw.ns.svc.cluster.local], http: [{${to}}]}`, /legacy gatewayName/);
});

test('VirtualService: actions of a route exclude each other', () => {
  taken(
    'VirtualService',
    http('redirect: {uri: /b}'),
    http('directResponse: {status: 503, body: {string: no}}'),
    http('delegate: {name: b}'),
  );
  refused('VirtualService', http('match: []'), /route, redirect or directResponse is required/);
  refused('VirtualService', http(`${to}, redirect: {uri: /b}`), /both route and redirect/);
  refused('VirtualService', http('directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}'), /both fault and directResponse/);
  refused('VirtualService', http(`${to}, delegate: {name: b}`), /must not specify route/);
  refused('VirtualService', http(`${to}, mirror: {host: b}, mirrors: [{destination: {host: c}}]`), /both mirror and mirrors/);
});

test('VirtualService: matches, weights, headers', () => {
  taken(
    'VirtualService',
    http(`match: [{uri: {prefix: ''}, headers: {':method': {exact: GET}, x-a: {}}, withoutHeaders: {x-b: {regex: '*'}}}], ${to}`),
  );
  refused('VirtualService', http(`match: [{headers: {x-a: {regex: '*'}}}], ${to}`), /not an RE2 expression/);
  refused('VirtualService', http(`match: [{method: {prefix: ''}}], ${to}`), /match\[0\]\.method\.prefix/);
  refused('VirtualService', http(`match: [{headers: {'@request.auth.claims.a': {exact: b}}}], ${to}`), /only supported for gateways/);
  refused('VirtualService', http('route: [{destination: {host: a}}, {destination: {host: b}}]'), /total destination weight = 0/);
  refused('VirtualService', http('route: [{destination: {host: a}, weight: -1}]'), /weight -1 < 0/);
  refused('VirtualService', http(`${to}, headers: {request: {set: {':path': x}}}`), /set\[":path"\].*":" prefix/);
  refused('VirtualService', http(`${to}, rewrite: {authority: b}, headers: {request: {set: {Host: c}}}`), /cannot be set multiple times/);
  refused('VirtualService', http(`${to}, headers: {response: {add: {x-a: '50%'}}}`), /unescaped/);
});

test('VirtualService: retries, faults, rewrite, CORS', () => {
  taken('VirtualService', http(`${to}, retries: {attempts: 0, backoff: 1s}`), http(`${to}, retries: {attempts: 2, retryOn: '5xx,503'}`));
  refused('VirtualService', http(`${to}, retries: {attempts: 2, retryOn: '5xx, reset'}`), /" reset" is not a valid retryOn policy/);
  refused('VirtualService', http(`${to}, retries: {attempts: 0, perTryTimeout: 1s}`), /attempts are set to 0/);
  refused('VirtualService', http(`${to}, timeout: 0s`), /at least 1ms/);
  refused('VirtualService', http(`${to}, fault: {}`), /must have an abort and\/or a delay/);
  refused('VirtualService', http(`${to}, fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}`), /neither 0\.0, nor in range/);
  refused('VirtualService', http(`${to}, fault: {abort: {grpcStatus: '14'}}`), /gRPC status "14"/);
  refused('VirtualService', http(`${to}, rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}`), /only contain one of/);
  refused('VirtualService', http(`${to}, corsPolicy: {allowMethods: [get]}`), /"get" is not a supported HTTP method/);
  warned('VirtualService', http(`${to}, mirror: {host: b}, mirrorPercent: 5`), /deprecated/);
});

test('VirtualService: rules that nothing reaches', () => {
  warned(
    'VirtualService',
    `{hosts: [a], http: [{${to}}, {name: late, ${to}}]}`,
    /spec\.http\[1\]: .*"late" not used \(only the last rule can have no matches\)/,
  );
  warned(
    'VirtualService',
    `{hosts: [a], http: [{match: [{port: 80}], ${to}}, {match: [{port: 80, name: b}], ${to}}]}`,
    /duplicate match in rule #0/,
  );
  warned(
    'VirtualService',
    `{hosts: [a], http: [{match: [{uri: {prefix: /a}}], ${to}}, {match: [{uri: {prefix: /a/b}}], ${to}}]}`,
    /overlapping match of prefix \/a/,
  );
  taken('VirtualService', `{hosts: [a], http: [{match: [{uri: {prefix: /a/b}}], ${to}}, {match: [{uri: {prefix: /a}}], ${to}}]}`);
});

test('DestinationRule', () => {
  taken('DestinationRule', '{host: a}', "{host: '*.b.c', exportTo: [.], trafficPolicy: {connectionPool: {tcp: {idleTimeout: 0s}}}}");
  refused('DestinationRule', '{host: a, trafficPolicy: {}}', /at least one field/);
  refused('DestinationRule', '{host: a, subsets: [{name: v1}, {name: v1}]}', /duplicate subset names: v1/);
  refused('DestinationRule', '{host: a, subsets: [{name: v_1}]}', /subset name is invalid/);
  refused('DestinationRule', '{host: a, trafficPolicy: {portLevelSettings: [{tls: {mode: DISABLE}}]}}', /must name a port/);
  refused(
    'DestinationRule',
    '{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {}}}}}',
    /tableSize must be set/,
  );
  refused(
    'DestinationRule',
    '{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 3}}}',
    /splitExternalLocalOriginErrors/,
  );
  refused('DestinationRule', '{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}', /client certificate required/);
  refused('DestinationRule', "{host: a, exportTo: ['*', web]}", /both public/);
  refused('DestinationRule', '{host: a, exportTo: [., shop]}', /duplicate entries/);
  const priority = '{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failoverPriority: [x]}}}}';
  warned('DestinationRule', priority, /outlier detection policy must be provided/);
});

test('Gateway, ServiceEntry, WorkloadEntry, PeerAuthentication', () => {
  const server = "{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}";
  taken('Gateway', `{servers: [${server}]}`);
  refused('Gateway', '{}', /at least one server/);
  refused('Gateway', `{servers: [${server}, ${server}]}`, /duplicate name http/);
  refused('Gateway', "{servers: [{hosts: ['*'], port: {number: 443, name: s, protocol: HTTPS}}]}", /must have TLS settings/);
  refused('Gateway', '{servers: [{hosts: [short], port: {number: 80, name: http, protocol: HTTP}}]}', /short names/);
  const entry = (more: string): string => `{hosts: [a.b], ports: [{number: 80, name: http, protocol: HTTP}], ${more}}`;
  taken('ServiceEntry', entry('resolution: DNS'), entry('resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {http: 8080}}]'));
  refused('ServiceEntry', entry('resolution: NONE, endpoints: [{address: 1.2.3.4}]'), /no endpoints/);
  refused('ServiceEntry', entry('resolution: STATIC, endpoints: [{address: c.d}]'), /not a valid IP address/);
  refused(
    'ServiceEntry',
    entry('resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {grpc: 1}}]'),
    /not defined by the service entry/,
  );
  refused('ServiceEntry', entry('resolution: DNS, addresses: [10.0.0.0/8]'), /CIDR addresses are allowed only/);
  taken('WorkloadEntry', '{address: 1.2.3.4}', '{address: unix:///a/b}');
  refused('WorkloadEntry', '{labels: {a: b}}', /address is required/);
  refused('WorkloadEntry', '{address: unix:///a/b, ports: {http: 80}}', /must not include ports/);
  taken('PeerAuthentication', '{}', '{mtls: {mode: STRICT}}', '{selector: {matchLabels: {a: b}}, portLevelMtls: {8080: {mode: DISABLE}}}');
  refused('PeerAuthentication', '{portLevelMtls: {8080: {mode: DISABLE}}}', /cannot have port level mTLS/);
});

test('Service and Workload', () => {
  taken(
    'Service',
    '{ports: [{port: 80, appProtocol: kubernetes.io/ws}]}',
    '{ports: [{port: 3306, name: db}]}',
    '{clusterIP: None}',
    '{selector: {a: b}, ports: [{name: http, port: 80, targetPort: web}, {name: tcp, port: 81}]}',
  );
  for (const port of ['port: 80', 'port: 80, name: web', 'port: 80, name: http, appProtocol: fake', 'port: 80, name: grpcweb-x'])
    warned('Service', `{ports: [{${port}}]}`, /no protocol is known of this port/);
  refused('Service', '{ports: [{port: 80}, {port: 81}]}', /needs a name where a service has several/);
  refused('Service', '{ports: [{name: a, port: 80}, {name: b, port: 80}]}', /duplicate port 80/);
  refused('Service', '{clusterIP: 10.96, ports: [{port: 80}]}', /must be text/);
  assert.match(told('Service', '{ports: [{port: 80}]}', { 'networking.istio.io/exportTo': '*,web' }).join(), /both public/);
  taken('Workload', '{command: [a]}', '{command: [a], readiness: {exec: {command: [b]}}, resources: {limits: {memory: 64Mi}}}');
  refused('Workload', '{command: []}', /must name a program/);
  refused('Workload', '{ports: [{port: 80}]}', /must name a program/);
  assert.deepEqual(told('Workload', '{ports: [{port: 80}]}', { 'inject.istio.io/templates': 'gateway' }), []);
  assert.match(told('Workload', '{command: [a]}', { 'inject.istio.io/templates': 'gateway' }).join(), /no command of its own/);
  refused('Workload', '{command: [a], readiness: {httpGet: {port: web}}}', /no port of this workload is named "web"/);
  refused('Workload', '{command: [a], readiness: {}}', /one of httpGet, tcpSocket and exec/);
  refused('Workload', '{command: [a], resources: {limits: {memory: lots}}}', /not a quantity/);
  refused('Workload', '{command: [a], replicas: -1}', /0\.\.1000/);
});

test('claims of a token choose routes wherever a gateway is named, and not in the mesh alone', () => {
  const claims = `match: [{headers: {'@request.auth.claims.a': {exact: b}}}], ${to}`;
  taken('VirtualService', `{hosts: [a], gateways: [gw], http: [{${claims}}]}`, `{hosts: [a], gateways: [mesh, gw], http: [{${claims}}]}`);
  refused('VirtualService', http(claims), /only supported for gateways/);
  warned('VirtualService', `{hosts: [a], gateways: [gw], http: [{${claims.replace('{exact: b}', '{}')}}]}`, /claim without a value/);
  refused(
    'VirtualService',
    `{hosts: [a], gateways: [mesh], http: [{${claims.replace('headers', 'withoutHeaders')}}]}`,
    /only supported for gateways/,
  );
});

test('AuthorizationPolicy: DENY and CUSTOM need rules, and an empty list has none', () => {
  taken('AuthorizationPolicy', '{}', '{rules: []}', '{action: DENY, rules: [{}]}');
  refused('AuthorizationPolicy', '{action: DENY}', /DENY action without `rules` is meaningless/);
  refused('AuthorizationPolicy', '{action: DENY, rules: []}', /DENY action without `rules` is meaningless/);
  refused('AuthorizationPolicy', '{action: CUSTOM, provider: {name: a}, rules: []}', /CUSTOM action without `rules` is meaningless/);
});

test('path templates: operators are whole segments, the rest is plain path text', () => {
  const paths = (path: string): string => `{rules: [{to: [{operation: {paths: [${JSON.stringify(path)}]}}]}]}`;
  taken('AuthorizationPolicy', paths('/a/{*}/b/{**}'), paths('/a/{*}/'), paths("/a-._~%20!$&'()+,;:@=/{*}"), paths('/a b/c'));
  refused('AuthorizationPolicy', paths('/{**}/{*}'), /not the last operator/);
  refused('AuthorizationPolicy', paths('/a/{b}'), /only \{\*\} and \{\*\*\}/);
  for (const path of ['/a b/{*}', '/a*/{*}', '/a"/{**}', '/a//{*}']) refused('AuthorizationPolicy', paths(path), /not plain path text/);
});

test('Gateway: every protocol that Istio knows may be written', () => {
  const server = (protocol: string): string => `{servers: [{port: {number: 80, name: a, protocol: ${protocol}}, hosts: ['*']}]}`;
  taken('Gateway', server('HTTP'), server('grpc-web'), server('MySQL'), server('UDP'));
  refused('Gateway', server('SMTP'), /invalid protocol/);
  refused('Gateway', server('HBONE'), /invalid protocol/);
});
