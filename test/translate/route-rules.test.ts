// Rules of HTTP routes where two of Istio's fields meet: what is sent for retries, mirrors, faults, names and wildcard hosts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import type { Route } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, configure } from './configure.ts';

const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: log, namespace: shop}
spec: {clusterIP: 10.96.9.2, ports: [{name: http, port: 80}]}
`;
const rule = (http: string, more = ''): string => `${SERVICES}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec: {hosts: [pay], http: ${http}}${more}`;

const HASHED = `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: shop}
spec: {host: pay, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}`;

const routesOf = (yaml: string, name = 'pay.shop.svc.cluster.local:80'): readonly Route[] => {
  const config = configure(yaml, { node: CLIENT });
  const hosts = config.routes.find((r) => r.name === '80')?.virtual_hosts ?? [];
  return hosts.find((h) => h.name === name)?.routes ?? [];
};
const TO_PAY = 'route: [{destination: {host: pay}}]';

test('a hash drops the predicate against hosts tried before, unless the rule says that they are to be avoided', () => {
  const predicates = (retries: string, more: string): number | undefined => {
    const [r] = routesOf(rule(`[{${TO_PAY}, retries: ${retries}}]`, more));
    return r?.route?.retry_policy?.retry_host_predicate?.length;
  };
  assert.equal(predicates('{attempts: 1}', ''), 1);
  assert.equal(predicates('{attempts: 1}', HASHED), undefined);
  assert.equal(predicates('{attempts: 1, retryIgnorePreviousHosts: true}', HASHED), 1);
  assert.equal(predicates('{attempts: 1, retryIgnorePreviousHosts: false}', ''), undefined);
});

test('no percentage mirrors everything, an empty one is zero and mirrors nothing', () => {
  const mirrored = (fields: string): unknown => {
    const [r] = routesOf(rule(`[{${TO_PAY}, ${fields}}]`));
    return r?.route?.request_mirror_policies?.map((m) => m.runtime_fraction?.default_value);
  };
  assert.deepEqual(mirrored('mirror: {host: log}'), [{ numerator: 100 }]);
  assert.equal(mirrored('mirror: {host: log}, mirrorPercentage: {}'), undefined);
  assert.equal(mirrored('mirror: {host: log}, mirrorPercentage: {value: 0}, mirrorPercent: 20'), undefined);
  assert.deepEqual(mirrored('mirror: {host: log}, mirrorPercent: 20'), [{ numerator: 20 }]);
  assert.deepEqual(
    mirrored('mirrors: [{destination: {host: log}, percentage: {}}, {destination: {host: log}, percentage: {value: 0.5}}]'),
    [{ numerator: 5000, denominator: 'MILLION' }],
  );
});

test('a delay or an abort without its kind is none: Envoy would refuse the routes', () => {
  const fault = (text: string): unknown =>
    routesOf(rule(`[{${TO_PAY}, fault: ${text}}]`))[0]?.typed_per_filter_config?.['envoy.filters.http.fault'];
  const type = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
  assert.deepEqual(fault('{abort: {percentage: {value: 10}}}'), { '@type': type });
  assert.deepEqual(fault('{delay: {percentage: {value: 10}}, abort: {httpStatus: 503}}'), {
    '@type': type,
    abort: { percentage: {}, http_status: 503 },
  });
  // An empty percentage is zero, whatever the field that it replaced says.
  assert.deepEqual(fault('{delay: {fixedDelay: 1s, percentage: {}, percent: 50}}'), {
    '@type': type,
    delay: { fixed_delay: '1s', percentage: { denominator: 'MILLION' } },
  });
});

test('the name of a route is its rule’s and its match’s, with the dot where only the match has one', () => {
  const names = routesOf(
    rule(`[{name: r, match: [{name: m, uri: {prefix: /a}}, {uri: {prefix: /b}}], ${TO_PAY}}, {match: [{name: n}], ${TO_PAY}}]`),
  );
  assert.deepEqual(
    names.map((r) => r.name),
    ['r.m', 'r', '.n'],
  );
});

test('a redirect with a code that proxies do not have is refused', () => {
  const of = (code: number): string[] =>
    parseDocuments('m.yaml', rule(`[{redirect: {uri: /x, redirectCode: ${code}}}]`))
      .problems.filter((p) => p.severity === 'error')
      .map((p) => p.message);
  assert.deepEqual(of(308), []);
  assert.match(of(304).join(), /301, 302, 303, 307 or 308/);
});

test('a rule for a narrow wildcard leaves an entry for a wider one alone', () => {
  const yaml = `${SERVICES}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: shop}
spec: {hosts: ["*.example.com"], ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec: {hosts: ["*.a.example.com"], http: [{directResponse: {status: 418}}]}`;
  const [r] = routesOf(yaml, '*.example.com:80');
  assert.equal(r?.route?.cluster, 'outbound|80||*.example.com');
});

test('a rule for an IPv6 address serves it as clients write it', () => {
  const yaml = rule(`[{${TO_PAY}}]`).replace('hosts: [pay]', 'hosts: ["2001:db8::1"]');
  const config = configure(yaml, { node: CLIENT });
  const host = config.routes.find((r) => r.name === '80')?.virtual_hosts?.find((h) => h.name?.includes('db8'));
  assert.deepEqual([host?.name, host?.domains], ['[2001:db8::1]:80', ['[2001:db8::1]']]);
});

test('TLS clients may name an alias in its short forms', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: shop}
spec: {hosts: [far.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: shop}
spec: {type: ExternalName, externalName: far.example.com}`;
  const names = chainsOf(configure(yaml, { node: CLIENT }), '0.0.0.0_443').flatMap((ch) => ch.filter_chain_match?.server_names ?? []);
  assert.deepEqual([...names].sort(), ['far.example.com', 'near', 'near.shop', 'near.shop.svc', 'near.shop.svc.cluster.local']);
});
