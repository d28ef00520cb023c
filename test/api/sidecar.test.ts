// Sidecar: listeners, hosts, the way out. Each pair is what is taken and a neighbour that is not.

import { test } from 'node:test';
import { refused, taken, warned } from './spec-verdicts.ts';

const egress = (listener: string): string => `{egress: [${listener}]}`;
const ingress = (listener: string): string => `{ingress: [${listener}]}`;
const hosts = (list: string): string => egress(`{hosts: [${list}]}`);

test('a Sidecar says something', () => {
  taken('Sidecar', '{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}', '{inboundConnectionPool: {tcp: {maxConnections: 1}}}', hosts("'./*'"));
  refused('Sidecar', '{}', /spec: empty configuration/);
  refused('Sidecar', '{workloadSelector: {labels: {app: a}}}', /empty configuration/);
  warned('Sidecar', "{workloadSelector: {}, egress: [{hosts: ['./*']}]}", /without labels/);
  refused('Sidecar', "{workloadSelector: {labels: {app: 'a*'}}, egress: [{hosts: ['./*']}]}", /wildcard/);
});

test('egress hosts are namespace/dnsName', () => {
  taken('Sidecar', hosts("'*/*'"), hosts("'~/*'"), hosts("'./*.shop.svc.cluster.local', 'istio-system/*'"), hosts('ns/a.b'));
  refused('Sidecar', hosts('reviews'), /hosts\[0\]: host "reviews" must be of form/);
  refused('Sidecar', hosts('ns/reviews'), /short names/);
  refused('Sidecar', hosts('N_s/a.b'), /invalid namespace value "N_s"/);
  refused('Sidecar', hosts("'/a.b'"), /cannot be empty/);
  refused('Sidecar', hosts("'ns/'"), /cannot be empty/);
  refused('Sidecar', hosts("'ns/*a.b'"), /partial wildcard/);
  refused('Sidecar', egress('{hosts: []}'), /at least one host/);
  refused('Sidecar', egress('{}'), /"hosts" is required/);
});

test('a tilde before a namespace excludes and repeats nothing', () => {
  taken('Sidecar', hosts("'*/*', '~prod/*'"), hosts("'*/*', '~prod/a.b', '~./a.b'"), hosts("'prod/*', '~prod/a.b'"));
  refused('Sidecar', hosts("'*/*', '~Pr_od/*'"), /hosts\[1\]: invalid namespace value "Pr_od"/);
  refused('Sidecar', hosts("'*/*', '~prod/a'"), /short names/);
});

test('hosts that add nothing are told', () => {
  warned('Sidecar', hosts("'ns/*', 'ns/a.b'"), /hosts\[1\]: duplicated egress host: ns\/a\.b/);
  warned('Sidecar', hosts("'ns/a.b', 'ns/*'"), /duplicated egress host: ns\/\*/);
  warned('Sidecar', hosts("'./a.b', 'shop/a.b'"), /duplicated/);
  warned('Sidecar', hosts("'*/*', 'ns/a.b'"), /selects all resources/);
  taken('Sidecar', hosts("'*/a.b', 'ns/a.b'"));
});

test('the egress listener without a port is the last', () => {
  const bound = '{port: {number: 80, protocol: HTTP}, hosts: [ns/a.b]}';
  const open = '{hosts: [ns/c.d]}';
  taken('Sidecar', egress(`${bound}, ${open}`));
  refused('Sidecar', egress(`${open}, ${bound}`), /egress\[0\]: the egress listener without port must be the last/);
  refused('Sidecar', egress(`${open}, ${open}`), /must be the last, and the only one/);
});

test('egress listeners bind to ports and sockets, each once', () => {
  const on = (port: string, rest = ''): string => `{port: {${port}}, hosts: [ns/a.b]${rest}}`;
  taken(
    'Sidecar',
    egress(on('number: 80', ', bind: 10.0.0.1')),
    egress(on('number: 0, protocol: HTTP, name: uds', ", bind: 'unix:///a/b', captureMode: NONE")),
    egress(on('number: 0', ", bind: 'unix://@a'")),
  );
  refused('Sidecar', egress(on('number: 70000')), /egress\[0\]\.port\.number: port number 70000/);
  refused('Sidecar', egress(on('number: 80, protocol: SPDY')), /port\.protocol: unsupported protocol/);
  refused('Sidecar', egress(on('number: 80, name: a_b')), /port\.name: invalid port name/);
  refused('Sidecar', egress(on('number: 80, targetPort: 8080')), /targetPort has no impact/);
  refused('Sidecar', egress(on('number: 80', ', bind: a.b')), /bind: "a\.b" is not a valid IP/);
  refused('Sidecar', egress(`${on('number: 80')}, ${on('number: 80')}`), /must be unique/);
  refused('Sidecar', egress(on('number: 0', ', bind: 10.0.0.1')), /must have a unix domain socket/);
  refused('Sidecar', egress(on('number: 0', ", bind: 'unix://a'")), /not an absolute path/);
  refused('Sidecar', egress(on('number: 0', ", bind: 'unix:///a', captureMode: IPTABLES")), /captureMode must be DEFAULT or NONE/);
  const socket = on('number: 0', ", bind: 'unix:///a'");
  refused('Sidecar', egress(`${socket}, ${socket}`), /values for listeners must be unique/);
});

test('ingress listeners have a port and forward to the workload itself', () => {
  const to = (endpoint: string): string => ingress(`{port: {number: 80}, defaultEndpoint: '${endpoint}'}`);
  taken('Sidecar', ...['127.0.0.1:8080', '0.0.0.0:8080', '[::1]:8080', '[::]:8080', ':8080', 'unix:///a/b', 'unix://@a'].map(to));
  refused('Sidecar', ingress('{}'), /"port" is required/);
  refused('Sidecar', to('10.0.0.1:8080'), /defaultEndpoint: "10\.0\.0\.1:8080" must be of form/);
  refused('Sidecar', to('::1:8080'), /must be of form/);
  refused('Sidecar', to('8080'), /must be of form/);
  refused('Sidecar', to('127.0.0.1:http'), /port "http" is not a number/);
  refused('Sidecar', to('127.0.0.1:0'), /port number 0/);
  refused('Sidecar', to('unix://a'), /absolute path/);
  refused('Sidecar', ingress("{port: {number: 80}, bind: 'unix:///a'}"), /bind: .* is not a valid IP/);
  refused('Sidecar', ingress('{port: {number: 80}}, {port: {number: 80, protocol: TCP}}'), /ingress\[1\]\.port\.number: .*written twice/);
  refused('Sidecar', ingress('{port: {protocol: HTTP}}'), /port number 0/);
});

test('ingress TLS names files and no more', () => {
  const tls = (block: string, protocol = 'HTTPS'): string => ingress(`{port: {number: 443, protocol: ${protocol}}, tls: {${block}}}`);
  const files = 'mode: SIMPLE, serverCertificate: /a, privateKey: /b';
  taken('Sidecar', tls(files), tls(files, 'TLS'), tls(`${files.replace('SIMPLE', 'MUTUAL')}, caCertificates: /c`));
  refused('Sidecar', tls(files, 'HTTP'), /cannot have TLS settings/);
  refused('Sidecar', tls('mode: ISTIO_MUTUAL'), /cannot set mode to ISTIO_MUTUAL/);
  refused('Sidecar', tls('mode: AUTO_PASSTHROUGH'), /cannot set mode/);
  refused('Sidecar', tls('mode: SIMPLE, credentialName: a'), /credentialName is not supported/);
  refused('Sidecar', tls('mode: SIMPLE, credentialNames: [a]'), /credentialNames is not supported/);
  refused('Sidecar', tls(`${files}, subjectAltNames: [a]`), /subjectAltNames is not supported/);
  refused('Sidecar', tls(`${files}, httpsRedirect: true`), /httpsRedirect is not supported/);
  refused('Sidecar', tls('mode: SIMPLE'), /SIMPLE TLS requires/);
});

test('connection pools', () => {
  const pool = (protocol: string, block: string): string =>
    ingress(`{port: {number: 80, protocol: ${protocol}}, connectionPool: ${block}}`);
  taken('Sidecar', pool('HTTP', '{http: {maxRetries: 1}}'), pool('TCP', '{tcp: {maxConnections: 1}}'));
  refused('Sidecar', pool('HTTP', '{}'), /connection pool must have at least one field/);
  warned('Sidecar', pool('TCP', '{http: {maxRetries: 1}}'), /only TCP settings will apply/);
  refused('Sidecar', '{inboundConnectionPool: {tcp: {maxConnections: -1}}}', /inboundConnectionPool\.tcp\.maxConnections/);
});

test('an egress proxy is one named service behind an open way out', () => {
  const out = (block: string): string => `{outboundTrafficPolicy: {${block}}}`;
  taken('Sidecar', out('mode: ALLOW_ANY, egressProxy: {host: a.b, subset: v1, port: {number: 80}}'));
  refused('Sidecar', out('egressProxy: {host: a.b, port: {number: 80}}'), /only with mode ALLOW_ANY/);
  refused('Sidecar', out('mode: ALLOW_ANY, egressProxy: {host: a.b}'), /must have a port/);
  refused('Sidecar', out("mode: ALLOW_ANY, egressProxy: {host: '*.b', port: {number: 80}}"), /egressProxy\.host/);
  refused('Sidecar', out('mode: ALLOW_ANY, egressProxy: {host: a.b, subset: v_1, port: {number: 80}}'), /subset/);
});
