// Kubernetes' own kinds as they are exported: what a mesh reads is checked, what Kubernetes knows besides is taken without a word, and
// no message says what a Secret holds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { formatProblem } from '../../src/api/problem.ts';
import { refused, taken, warned } from './spec-verdicts.ts';

const document = (kind: string, rest: string, apiVersion = 'v1'): string =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a, namespace: shop}\n${rest}`;

/** What is wrong with a document, but what this version does not implement. */
const problems = (text: string): string[] =>
  parseDocuments('a.yaml', text)
    .problems.filter((p) => p.code !== 'FIELD_NOT_SUPPORTED')
    .map(formatProblem);

const POD = `spec:
  serviceAccountName: web
  nodeName: node-1
  restartPolicy: Always
  volumes: [{name: v, emptyDir: {}}]
  tolerations: [{operator: Exists}]
  initContainers: [{name: init, image: a}]
  containers:
    - name: app
      image: example.com/app:1
      env: [{name: A, value: b}]
      livenessProbe: {httpGet: {path: /, port: http}}
      resources: {limits: {cpu: 1}}
      ports: [{name: http, containerPort: 8080, protocol: TCP, hostPort: 80}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Ready, status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z'}]
  containerStatuses: [{name: app, ready: true}]
`;

test('an exported Pod reads without a word, and what the mesh needs of it is kept', () => {
  assert.deepEqual(problems(document('Pod', POD)), []);
  assert.deepEqual(problems(document('Pod', 'spec: {}\n')), []);
});

test('a misspelt field of a Pod is an error where it stands', () => {
  assert.match(
    problems(document('Pod', POD.replace('nodeName', 'nodeNam')))[0] ?? '',
    /a\.yaml:6:3: error FIELD_UNKNOWN spec\.nodeNam: .*"nodeName"/,
  );
  assert.match(
    problems(document('Pod', POD.replace('livenessProbe', 'livenessprobes')))[0] ?? '',
    /FIELD_UNKNOWN .*did you mean "livenessProbe"/,
  );
  assert.match(problems(document('Pod', POD.replace('podIPs', 'podIps')))[0] ?? '', /FIELD_UNKNOWN status\.podIps/);
});

test('values of a Pod', () => {
  const pod = (spec: string, status = ''): string => `{spec: {${spec}}, status: {${status}}}`;
  const ports = (list: string): string => pod(`containers: [{name: a, ports: [${list}]}]`);
  taken('Pod', '{}', ports('{containerPort: 80}, {containerPort: 81}'), pod('', "podIP: ''"));
  refused('Pod', ports('{containerPort: 0}'), /containers\[0\]\.ports\[0\]\.containerPort/);
  refused('Pod', ports('{containerPort: 80, name: a_b}'), /invalid port name/);
  refused('Pod', ports('{containerPort: 80, name: name-of-16-chars}'), /invalid port name/);
  refused('Pod', ports("{containerPort: 80, name: '80'}"), /invalid port name/);
  refused('Pod', ports('{containerPort: 80, name: a}, {containerPort: 81, name: a}'), /ports\[1\]\.name: duplicate/);
  refused('Pod', pod('containers: [{name: a}, {name: a}]'), /duplicate container name/);
  refused('Pod', pod('serviceAccountName: A_b'), /serviceAccountName: invalid name/);
  refused('Pod', pod('serviceAccountName: a, serviceAccount: b'), /old name/);
  refused('Pod', pod('', 'podIP: 10.0.0'), /status\.podIP/);
  refused('Pod', pod('', 'podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.2}]'), /must begin with podIP/);
  refused('Pod', pod('', 'phase: Sleeping'), /phase/);
});

test('EndpointSlices and Endpoints', () => {
  const slice = (addresses: string, rest = ''): string => `{addressType: IPv4, endpoints: [{addresses: [${addresses}]}]${rest}}`;
  const ready = '{addresses: [10.0.0.1], conditions: {ready: true, serving: true}, zone: z, nodeName: n, targetRef: {kind: Pod, name: p}}';
  taken('EndpointSlice', `{addressType: IPv4, endpoints: [${ready}], ports: [{name: http, port: 80, appProtocol: http}]}`);
  taken(
    'EndpointSlice',
    "{addressType: IPv6, endpoints: [{addresses: ['fd00::1']}]}",
    '{addressType: FQDN, endpoints: [{addresses: [a.b]}]}',
  );
  taken('EndpointSlice', '{endpoints: [{addresses: [10.0.0.1]}]}');
  refused('EndpointSlice', slice("'fd00::1'"), /endpoints\[0\]\.addresses\[0\]: .*type IPv4/);
  refused('EndpointSlice', slice('a.b'), /type IPv4/);
  refused('EndpointSlice', slice('127.0.0.1'), /cannot be reached/);
  refused('EndpointSlice', slice('169.254.0.1'), /cannot be reached/);
  refused('EndpointSlice', slice(''), /must have an address/);
  refused('EndpointSlice', slice('10.0.0.1', ', ports: [{port: 70000}]'), /ports\[0\]\.port/);
  refused('EndpointSlice', slice('10.0.0.1', ', ports: [{port: 80}, {port: 81}]'), /needs a name/);
  refused('EndpointSlice', slice('10.0.0.1', ', ports: [{name: a, port: 80}, {name: a, port: 81}]'), /duplicate port name/);
  taken('Endpoints', '{subsets: [{addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 80}]}]}');
  refused('Endpoints', '{subsets: [{addresses: [{ip: 10.0.0}]}]}', /addresses\[0\]\.ip/);
  refused('Endpoints', '{subsets: [{notReadyAddresses: [{ip: 127.0.0.1}]}]}', /notReadyAddresses\[0\]\.ip/);
});

test('an EndpointSlice names its Service in a label', () => {
  const slice = 'addressType: IPv4\nendpoints: []\n';
  assert.match(
    problems(document('EndpointSlice', slice, 'discovery.k8s.io/v1'))[0] ?? '',
    /warning DISCOURAGED metadata\.labels: without the label/,
  );
  const labelled = document('EndpointSlice', slice, 'discovery.k8s.io/v1').replace(
    'name: a,',
    'name: a, labels: {kubernetes.io/service-name: web},',
  );
  assert.deepEqual(problems(labelled), []);
});

test('Secrets and ConfigMaps', () => {
  const pem = "'-----BEGIN CERTIFICATE-----'";
  taken(
    'Secret',
    '{}',
    '{type: Opaque, data: {key: YQ==}, stringData: {b: c}}',
    `{type: kubernetes.io/tls, stringData: {tls.crt: ${pem}, tls.key: ${pem}}}`,
  );
  refused('Secret', `{type: kubernetes.io/tls, stringData: {tls.crt: ${pem}}}`, /must have tls\.key/);
  warned('Secret', `{type: kubernetes.io/tls, data: {tls.crt: ''}, stringData: {tls.key: a}}`, /stringData\["tls\.key"\]: is not PEM/);
  refused('Secret', '{data: {key: plain text}}', /data\.key: is not base64/);
  refused('Secret', "{data: {'a b': YQ==}}", /a key must be of letters/);
  refused('Secret', `{stringData: {a: '${'x'.repeat(1_100_000)}'}}`, /larger than 1 MiB/);
  taken('ConfigMap', '{data: {a.yaml: b}, binaryData: {c: YQ==}, immutable: true}');
  refused('ConfigMap', '{data: {a: b}, binaryData: {a: YQ==}}', /also in data/);
  refused('ConfigMap', '{data: {a: 5}}', /must be text, found 5/);
});

test('a ConfigMap says what alone is read of it', () => {
  assert.match(
    problems(document('ConfigMap', 'data: {mesh: a}\n'))[0] ?? '',
    /4:1: warning FIELD_NOT_YET_EFFECTIVE data: is read for roots .*ca\.crt.*meshNetworks.*--mesh-config/,
  );
});

test('whatever is wrong with a Secret, its values are not told', () => {
  const value = 'hunter2SECRET0';
  const broken = [
    ...[
      `data: ${value}\n`,
      `data: {k: "${value}!"}\n`,
      `data: {k: [${value}]}\n`,
      `stringData: {k: {a: ${value}}}\n`,
      `type: [${value}]\n`,
    ],
    ...[`immutable: ${value}\n`, `stringData:\n  k: a: ${value}\n`, `stringData:\n  k: *${value}\n`, `stringData:\n  k: "${value}\n`],
    ...[
      `stringData:\n  k: |\n    a\n   ${value}\n`,
      `stringData:\n  k: "\\q${value}"\n`,
      `stringData:\n  k: !!int ${value}\n`,
      `data:\n  k: a\n  k: ${value}\n`,
    ],
  ];
  for (const rest of broken) {
    const told = problems(document('Secret', rest));
    assert.ok(told.length > 0, rest);
    assert.doesNotMatch(told.join('\n'), /hunter2/, rest);
  }
  assert.doesNotMatch(problems(document('Secret', 'stringData: {pin: 123456}\n')).join('\n'), /123456/);
});

test('Services', () => {
  const service = (block: string): string => `{ports: [{name: http, port: 80}], ${block}}`;
  taken(
    'Service',
    service('clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, "fd00::1"], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack'),
    service('externalIPs: [192.0.2.1], trafficDistribution: PreferClose, internalTrafficPolicy: Cluster'),
    service('sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}'),
    '{type: ExternalName, externalName: example.com}',
  );
  refused('Service', service('clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 10.0.0.2]'), /one address of IPv4/);
  refused('Service', service('externalIPs: [a]'), /externalIPs\[0\]/);
  refused('Service', service('trafficDistribution: Far'), /trafficDistribution/);
  refused('Service', service('ipFamilies: [IPv5]'), /ipFamilies/);
  refused('Service', service('sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}'), /1\.\.86400/);
  refused('Service', '{type: ExternalName}', /must have externalName/);
  refused('Service', '{type: ExternalName, externalName: a_b}', /externalName/);
  refused('Service', '{type: ExternalName, externalName: a.b, clusterIP: 10.0.0.1}', /has no address/);
  refused('Service', "{ports: [{name: http, port: 80, appProtocol: 'a b'}]}", /appProtocol/);
  refused('Service', '{ports: [{name: http, port: 80, nodePort: 70000}]}', /nodePort/);
  assert.match(
    problems('apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec: {ports: [{name: http, port: 80}]}\n')[0] ?? '',
    /3:\d+: error INVALID metadata\.name/,
  );
});

test('what namespaces and service accounts hold besides their metadata is taken', () => {
  assert.deepEqual(
    problems('apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nspec: {finalizers: [kubernetes]}\nstatus: {phase: Active}\n'),
    [],
  );
  assert.deepEqual(problems(document('ServiceAccount', 'secrets: [{name: a}]\nautomountServiceAccountToken: false\n')), []);
});
