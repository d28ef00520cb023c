import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { formatProblem, type Problem } from '../../src/api/problem.ts';
import { isKind, ofKind, type Resource } from '../../src/api/resource.ts';

const parse = (text: string) => parseDocuments('mesh/a.yaml', text);

const one = (problems: readonly Problem[]): Problem => {
  const [problem, ...rest] = problems;
  assert.ok(problem && rest.length === 0, `expected one problem, got\n${problems.map(formatProblem).join('\n')}`);
  return problem;
};

const accepted = (text: string): Resource => {
  const { resources, problems } = parse(text);
  assert.deepEqual(problems.map(formatProblem), []);
  const [resource, ...rest] = resources;
  assert.ok(resource && rest.length === 0);
  return resource;
};

const vs = (spec: string, version = 'networking.istio.io/v1'): string =>
  `apiVersion: ${version}\nkind: VirtualService\nmetadata: {name: payment, namespace: shop}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
const dr = (spec: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: payment}\nspec: ${spec}\n`;
const route = 'hosts: [payment]\nhttp:\n- route: [{destination: {host: payment}}]\n';

describe('where a field stands', () => {
  test('many positions of one object are asked for at the price of one reading', () => {
    const routes = Array.from({ length: 1000 }, (_, i) => `- match: [{uri: {exact: /${i}}}]\n  route: [{destination: {host: a}}]\n`);
    const { origin } = accepted(vs(`hosts: [a]\nhttp:\n${routes.join('')}`));
    const began = performance.now();
    for (let i = 0; i < 1000; i++)
      assert.deepEqual(origin.at(`spec.http[${i}].route[0].destination.host`), { line: 8 + 2 * i, column: 28 });
    assert.ok(performance.now() - began < 5000, `took ${Math.round(performance.now() - began)} ms`);
  });
});

describe('kinds of other groups', () => {
  test('a group named like a member of every JavaScript object is an unknown one', () => {
    for (const group of ['constructor', '__proto__', 'toString']) {
      const problem = one(parse(`apiVersion: ${group}/v1\nkind: Thing\nmetadata: {name: a}\n`).problems);
      assert.equal(problem.code, 'KIND_UNKNOWN');
      assert.doesNotMatch(formatProblem(problem), /native code|object Object/);
    }
  });
});

describe('what problems say of security', () => {
  const security = (kind: string, spec: string) =>
    parse(`apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`).problems;

  test('no problem repeats the password of an address', () => {
    const problem = one(security('RequestAuthentication', '{jwtRules: [{issuer: a, jwksUri: "http://user:geheim@a.b/keys"}]}'));
    assert.doesNotMatch(formatProblem(problem), /geheim/);
  });

  test('an unknown attribute is told of once, where it is compared', () => {
    const problem = one(security('AuthorizationPolicy', '{rules: [{when: [{key: "request.header[x]", values: [a]}]}]}'));
    assert.equal(problem.path, 'spec.rules[0].when[0].values');
  });
});

describe('what becomes a resource', () => {
  test('versions of a kind are one kind; the namespace defaults', () => {
    for (const version of ['v1', 'v1beta1', 'v1alpha3'])
      assert.equal(accepted(vs(route, `networking.istio.io/${version}`)).kind, 'VirtualService');
    assert.equal(accepted(dr('{host: payment}')).namespace, 'default');
    const { resources } = parseDocuments('a', dr('{host: payment}'), { defaultNamespace: 'shop' });
    assert.equal(resources[0]?.namespace, 'shop');
  });

  test('snake_case and nulls are read as protojson reads them, with a warning that Kubernetes does not', () => {
    const { resources, problems } = parse(
      dr('{host: a, subsets: null, traffic_policy: {connection_pool: {tcp: {max_connections: 7}}, loadBalancer: {simple: RANDOM}}}'),
    );
    assert.deepEqual(resources[0]?.spec, {
      host: 'a',
      trafficPolicy: { connectionPool: { tcp: { maxConnections: 7 } }, loadBalancer: { simple: 'RANDOM' } },
    });
    assert.deepEqual(
      problems.map((p) => `${p.severity} ${p.code} ${p.path}`),
      [
        'warning FIELD_FORM spec.subsets',
        'warning FIELD_FORM spec.traffic_policy',
        'warning FIELD_FORM spec.trafficPolicy.connection_pool',
        'warning FIELD_FORM spec.trafficPolicy.connectionPool.tcp.max_connections',
      ],
    );
  });

  test('numbers in quotes and numbers of enums are refused, as Kubernetes refuses them', () => {
    const { resources, problems } = parse(
      dr('{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: "7"}}, loadBalancer: {simple: 4}}}'),
    );
    assert.deepEqual(resources, []);
    assert.deepEqual(
      problems.map((p) => `${p.severity} ${p.code} ${p.path} ${p.hint}`),
      [
        'error FIELD_FORM spec.trafficPolicy.connectionPool.tcp.maxConnections write it without quotes',
        'error FIELD_FORM spec.trafficPolicy.loadBalancer.simple write ROUND_ROBIN',
      ],
    );
  });

  test('durations come out in seconds, an empty matcher means presence', () => {
    const resource = accepted(vs('hosts: [a]\nhttp:\n- match: [{headers: {x-a: {}}}]\n  timeout: 1m\n  route: [{destination: {host: a}}]'));
    assert.ok(isKind(resource, 'VirtualService'));
    assert.equal(resource.spec.http?.[0]?.timeout, '60s');
    assert.deepEqual(resource.spec.http?.[0]?.match, [{ headers: { 'x-a': {} } }]);
  });

  test('JSON, tabs and a List are read; positions point into the list', () => {
    const service = (name: string): object => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: { ports: [{ port: 80, name: 'http' }] },
    });
    const { resources, problems } = parse(
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [service('a'), service('b')] }, null, '\t'),
    );
    assert.deepEqual(problems, []);
    assert.deepEqual(
      resources.map((r) => r.name),
      ['a', 'b'],
    );
    assert.deepEqual(resources[1]?.origin.at('spec.ports[0].port'), { line: 29, column: 7 });
  });

  test('anchors, aliases and merge keys are followed', () => {
    const text = vs(
      'hosts: [a]\nhttp:\n- &r {route: [{destination: {host: a}}], timeout: 1s, match: [{uri: {prefix: /y}}]}\n- <<: *r\n  timeout: 2s\n  match: [{uri: {prefix: /x}}]',
    );
    const resource = accepted(text);
    assert.ok(isKind(resource, 'VirtualService'));
    assert.deepEqual(
      resource.spec.http?.map((h) => [h.timeout, h.route?.length]),
      [
        ['1s', 1],
        ['2s', 1],
      ],
    );
  });

  test('namespaces, service accounts, services and workloads', () => {
    const text = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: payment, namespace: shop}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata: {name: payment, namespace: shop, annotations: {networking.istio.io/exportTo: '., web'}}
spec: {selector: {app: payment}, ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {clusterIP: None, ports: [{name: redis, port: 6379}]}
---
apiVersion: skein.dev/v1
kind: Workload
metadata: {name: payment-v1, namespace: shop, labels: {app: payment, version: v1}}
spec:
  serviceAccount: payment
  replicas: 2
  command: [bun, services/payment.ts]
  workingDir: services
  env: {VERSION: v1}
  ports: [{name: http, port: 8080}]
  readiness: {httpGet: {path: /healthz, port: http}}
  resources: {limits: {memory: 128Mi}}
`;
    const { resources, problems } = parse(text);
    assert.deepEqual(problems.map(formatProblem), [
      'mesh/a.yaml:32:15: warning FIELD_NOT_YET_EFFECTIVE spec.resources.limits: limits of the application are not yet applied',
    ]);
    assert.deepEqual(
      resources.map((r) => `${r.kind}/${r.namespace}/${r.name}`),
      ['Namespace//shop', 'ServiceAccount/shop/payment', 'Service/shop/payment', 'Service/shop/stock', 'Workload/shop/payment-v1'],
    );
    assert.equal(ofKind(resources, 'Workload')[0]?.spec.replicas, 2);
    assert.equal(resources[4]?.origin.line, 21);
    assert.deepEqual(resources[4]?.origin.at('spec.readiness.httpGet.port'), { line: 31, column: 41 });
    assert.deepEqual(resources[4]?.origin.at('spec.readiness.nothing.here'), { line: 31, column: 3 });
  });

  test('what a cluster writes into objects is dropped', () => {
    const resource = accepted(
      `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: a
  uid: "1"
  resourceVersion: "2"
  generation: 3
  creationTimestamp: 2024-01-01T00:00:00Z
  managedFields: [{manager: kubectl}]
  labels: {app.kubernetes.io/name: a}
spec: {host: a}
status: {conditions: []}
`,
    );
    assert.equal(resource.creationTimestamp, '2024-01-01T00:00:00Z');
    assert.deepEqual(resource.labels, { 'app.kubernetes.io/name': 'a' });
  });
});

describe('what is refused, and where', () => {
  const refused = (text: string): string => {
    const { resources, problems } = parse(text);
    assert.deepEqual(resources, []);
    return formatProblem(one(problems.filter((p) => p.severity === 'error')));
  };

  test('misspelt and misplaced fields name what was meant', () => {
    assert.equal(
      refused(dr('{host: a, subsetz: []}')),
      'mesh/a.yaml:4:17: error FIELD_UNKNOWN spec.subsetz: unknown field "subsetz" (did you mean "subsets"?)',
    );
    assert.match(refused(vs(`${route}  timeOut: 1s`)), /8:5: error FIELD_UNKNOWN spec\.http\[0\]\.timeOut: .*did you mean "timeout"\?/);
    assert.match(refused(`${dr('{host: a}')}subsets: []\n`), /5:1: error FIELD_UNKNOWN subsets: .*"subsets" belongs below "spec"/);
  });

  test('types and enums', () => {
    assert.match(refused(vs(`${route}  timeout: 5`)), /FIELD_TYPE spec\.http\[0\]\.timeout: .*found 5 \(write the unit: "5s"\)/);
    assert.match(refused(dr('{host: a, trafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}}')), /did you mean "ROUND_ROBIN"/);
    assert.match(refused(dr('{host: a, subsets: [{name: v1, labels: {version: 1.0}}]}')), /write it in quotes: "1\.0"/);
    assert.match(
      refused(vs('hosts: payment\nhttp: [{route: [{destination: {host: a}}]}]')),
      /spec\.hosts: must be a list, found "payment"/,
    );
    assert.match(
      refused(vs('hosts: [a]\nhttp: [{route: [{destination: {host: a}}, null]}]')),
      /spec\.http\[0\]\.route\[1\]: an item of a list may not be null/,
    );
    assert.match(
      refused(vs('hosts: [a]\nhttp: [{match: [{uri: {exact: /a, prefix: /b}}], route: [{destination: {host: a}}]}]')),
      /only one of "exact" and "prefix"/,
    );
    assert.match(
      refused(vs('hosts: [a]\nhttp: [{route: [{weight: 1}]}]')),
      /FIELD_REQUIRED spec\.http\[0\]\.route\[0\]: "destination" is required/,
    );
  });

  test('duplicate keys, also in two spellings', () => {
    assert.match(refused(dr('{host: a, host: b}')), /4:17: error YAML_DUPLICATE_KEY the key "host" stands twice/);
    assert.match(refused(dr('{host: a, export_to: [.], exportTo: [.]}')), /YAML_DUPLICATE_KEY/);
  });

  test('kinds and versions', () => {
    const object = (apiVersion: string, kind: string): string => `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a}\n`;
    assert.match(
      refused(object('networking.istio.io/v2', 'VirtualService')),
      /1:1: error VERSION_UNKNOWN apiVersion: .*networking\.istio\.io\/v1beta1/,
    );
    assert.match(
      refused(object('networking.istio.io/v1', 'VirtualServise')),
      /2:1: error KIND_UNKNOWN kind: .*did you mean "VirtualService"/,
    );
    assert.match(
      refused(object('networking.istio.io/v1', 'PeerAuthentication')),
      /PeerAuthentication is a kind of security\.istio\.io\/v1/,
    );
    assert.match(refused(object('networking.istio.io/v1', 'EnvoyFilter')), /VERSION_UNKNOWN.*v1alpha3/);
    for (const [apiVersion, kind] of [
      ['gateway.networking.k8s.io/v1', 'HTTPRoute'],
      ['gateway.networking.k8s.io/v1', 'Gateway'],
    ] as const) {
      assert.match(refused(object(apiVersion, kind)), new RegExp(`KIND_NOT_SUPPORTED kind: ${kind} .*later version`));
    }
    assert.match(refused(object('apps/v1', 'Deployment')), /KIND_NOT_SUPPORTED .*Workload \(skein\.dev\/v1\)/);
  });

  test('policies with fields that nothing would look at', () => {
    const policy = (kind: string, spec: string): string =>
      `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`;
    accepted(policy('AuthorizationPolicy', '{}'));
    accepted(policy('RequestAuthentication', '{jwtRules: [{issuer: a}]}'));
    assert.match(refused(policy('AuthorizationPolicy', '{rulez: []}')), /FIELD_UNKNOWN/);
    const attached = parse(policy('AuthorizationPolicy', "{targetRefs: [{kind: Service, group: '', name: a}]}")).problems;
    assert.deepEqual(
      attached.map((p) => `${p.severity} ${p.code} ${p.path}`),
      ['warning FIELD_NOT_YET_EFFECTIVE spec.targetRefs[0].kind'],
    );
  });

  test("fields of Istio's that this version lacks", () => {
    const http2 = '{h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 4, http2KeepAlive: {interval: 10s, timeout: 5s}}';
    accepted(dr(`{host: a, trafficPolicy: {connectionPool: {http: ${http2}}}}`));
    accepted(dr('{host: a, subsets: [{name: v1, trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: a.b, targetPort: 1}}}]}'));
    accepted(dr('{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s}}}}'));
    accepted(dr('{host: a, subsets: [{name: v1, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {enabled: true}}}}]}'));
    accepted(dr('{host: a, trafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [429]}}}'));
    assert.match(
      refused(vs('hosts: [a]\ntcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]')),
      /sourceSubnet/,
    );
    const gateway = (server: string): string =>
      `apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: [${server}]}\n`;
    accepted(gateway("{hosts: ['*'], port: {number: 80, name: http, protocol: http}}"));
    accepted(
      gateway(
        "{hosts: ['*'], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}}",
      ),
    );
    accepted(gateway("{hosts: ['*'], port: {number: 9000, name: tcp, protocol: TCP}}"));
    accepted(vs('hosts: [a]\ntls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]'));
    accepted(gateway("{hosts: ['*'], port: {number: 443, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}}"));
    accepted(dr('{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}'));
    accepted(gateway("{hosts: ['*'], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}}"));
    const tls = parse(gateway("{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:1'}")).problems;
    assert.deepEqual(
      tls.map((p) => [p.code, p.path]),
      [['FIELD_NOT_YET_EFFECTIVE', 'spec.servers[0].defaultEndpoint']],
    );
  });

  test('accepted with a warning', () => {
    const { resources, problems } = parse(
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 53, protocol: UDP}]}\n',
    );
    assert.equal(resources.length, 1);
    assert.match(formatProblem(one(problems)), /warning FIELD_NOT_YET_EFFECTIVE .*UDP is not proxied/);
  });

  test('metadata', () => {
    assert.match(
      refused('apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {}\nspec: {host: a}\n'),
      /metadata\.name is required/,
    );
    assert.match(refused(dr('{host: a}').replace('payment', 'Payment_1')), /3:12: error NAME_INVALID metadata\.name/);
    assert.match(refused('apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n'), /belongs to no namespace/);
    assert.match(
      refused(dr('{host: a}').replace('name: payment', 'name: a, labels: {version: 2}')),
      /metadata\.labels\.version: must be text/,
    );
  });

  test('the same object twice', () => {
    const { resources, problems } = parse(`${dr('{host: a}')}---\n${dr('{host: b}')}`);
    assert.equal(resources.length, 1);
    assert.match(formatProblem(one(problems)), /8:12: error DUPLICATE_OBJECT metadata\.name: .*first in line 1/);
  });
});

describe('broken texts', () => {
  test('every bad document is told at once, the good ones are read', () => {
    const text = [dr('{host: a'), dr('{host: b}'), 'just text\n', vs('hosts: [a]'), '# nothing'].join('---\n');
    const { resources, problems } = parse(text);
    assert.deepEqual(
      resources.map((r) => r.name),
      ['payment'],
    );
    assert.deepEqual(
      problems.map((p) => p.code),
      ['YAML_SYNTAX', 'NOT_AN_OBJECT', 'INVALID'],
    );
    const lines = problems.map((p) => p.line);
    assert.deepEqual(
      lines,
      [...lines].sort((a, b) => a - b),
    );
  });

  test('half-written files say where', () => {
    const whole = vs(`${route}  timeout: 5s\n`);
    let refusedCuts = 0;
    for (let cut = 1; cut < whole.length - 1; cut++) {
      const { resources, problems } = parse(whole.slice(0, cut));
      if (resources.length > 0) continue;
      refusedCuts++;
      const text = whole.slice(0, cut).trim();
      if (text !== '') assert.ok(problems.length > 0 && problems.every((p) => p.line >= 1 && p.column >= 1), `cut at ${cut}`);
    }
    assert.ok(refusedCuts > 100);
  });

  test('a List without items is empty, and one whose items are no list is told what belongs there', () => {
    assert.deepEqual(parse('apiVersion: v1\nkind: List\n'), { resources: [], problems: [] });
    const told = one(parse('apiVersion: v1\nkind: List\nitems: 5\n').problems);
    assert.deepEqual([told.code, told.path, told.line], ['FIELD_TYPE', 'items', 3]);
    assert.match(told.hint ?? '', /apiVersion, kind and metadata/);
    assert.match(one(parse('a: b\n').problems).message, /^apiVersion and kind are missing/);
    assert.match(one(parse('kind: Service\n').problems).message, /^apiVersion is missing/);
  });

  test('a duration that is none is told how it is written', () => {
    const hint = (timeout: string): string | undefined => one(parse(vs(`${route}  timeout: ${timeout}`)).problems).hint;
    assert.deepEqual(['5', '"5"', '1.5', '2d', '5sec', '99999999999h'].map(hint), [
      'write the unit: "5s"',
      'write the unit: "5s"',
      'write the unit: "1.5s"',
      'there is no unit for days: "48h"',
      'units: h, m, s, ms, us, ns',
      'at most 10,000 years',
    ]);
  });

  test('empty texts are nothing, not an error', () => {
    for (const text of ['', '\n', '# comment\n', '---\n---\n', '\uFEFF']) assert.deepEqual(parse(text), { resources: [], problems: [] });
  });

  test('syntax problems have a line; tabs get a hint', () => {
    const tab = one(parse('apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n').problems.slice(0, 1));
    assert.equal(tab.code, 'YAML_SYNTAX');
    assert.equal(tab.line, 4);
    assert.match(tab.hint ?? '', /spaces/);
  });

  test('limits: alias bombs, depth, self-reference', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.replace(/./g, (k, i) => `${k}: &${k} [${Array(9).fill(`*${'abcdefgh'[i]}`).join(',')}]\n`)}`;
    assert.equal(parse(bomb).problems[0]?.code, 'YAML_LIMIT');
    assert.equal(parse(`a: ${'['.repeat(100)}${']'.repeat(100)}`).problems[0]?.code, 'YAML_LIMIT');
    assert.equal(parse('a: &a [*a]').problems[0]?.severity, 'error');
    assert.equal(parse('a: *nobody').problems[0]?.code, 'YAML_SYNTAX');
  });

  test('a text too deep for the YAML reader and a text in UTF-16 are told in plain words', () => {
    for (const open of ['[', '- ', '{a: ']) {
      const deep = one(parse(`a:\n  ${open.repeat(20_000)}`).problems);
      assert.deepEqual([deep.code, deep.line], ['YAML_SYNTAX', 2]);
      assert.match(deep.message, /nested deeper than \d+/);
    }
    const little = Buffer.from(`\uFEFF${dr('{host: a}')}`, 'utf16le');
    for (const bytes of [little, Buffer.from(little).swap16()]) {
      const { code, message } = one(parse(bytes.toString('utf8')).problems);
      assert.deepEqual([code, message], ['YAML_SYNTAX', 'the text is UTF-16; save it as UTF-8']);
    }
  });

  test('a key named __proto__ is an unknown field like any other', () => {
    assert.equal(parse(dr('{host: a, __proto__: {x: 1}}')).problems[0]?.code, 'FIELD_UNKNOWN');
    const { resources } = parse(vs('hosts: [a]\nhttp: [{match: [{headers: {__proto__: {exact: x}}}], route: [{destination: {host: a}}]}]'));
    assert.equal(({} as Record<string, unknown>)['exact'], undefined);
    assert.equal(resources.length, 1);
  });
});

test('a thousand documents in under two seconds', () => {
  const document = (i: number): string =>
    vs(
      `hosts: [svc-${i}]\nhttp:\n- match: [{uri: {regex: "/a.*"}}]\n  route:\n  - {destination: {host: a, subset: v1}, weight: 90}\n  - {destination: {host: a, subset: v2}, weight: 10}`,
    ).replace('payment', `p${i}`);
  const text = Array.from({ length: 1000 }, (_, i) => document(i)).join('---\n');
  // Whichever is less: on a loaded machine the clock counts what others do, and processor time what threads of the runtime do beside.
  const start = performance.now();
  const before = process.cpuUsage();
  const { resources, problems } = parse(text);
  const { user, system } = process.cpuUsage(before);
  const took = Math.min(performance.now() - start, (user + system) / 1000);
  assert.equal(resources.length, 1000);
  assert.deepEqual(problems, []);
  assert.deepEqual(resources[999]?.origin.at('spec.http[0].route[1].weight'), { line: 11 * 999 + 10, column: 44 });
  assert.ok(took < 2000, `took ${Math.round(took)} ms`);
});
