// Istio's rules field by field: for each a value at the edge that is taken, and one beyond it that is refused or warned of.

import { test } from 'node:test';
import { judged } from './judged.ts';

test('DestinationRule: pools, outliers, balancing, TLS', () => {
  judged('DestinationRule', '{host: a, trafficPolicy: {%}}', {
    taken: [
      ...[
        'connectionPool: {tcp: {maxConnections: 0, idleTimeout: 0s}}',
        'connectionPool: {http: {h2UpgradePolicy: UPGRADE}}',
        'connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}',
      ],
      ...[
        'outlierDetection: {maxEjectionPercent: 100}',
        'outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1}',
      ],
      ...[
        'loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}',
        'loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s}}}',
      ],
      ...[
        'loadBalancer: {warmup: {duration: 1s, minimumPercent: 100, aggression: 1}}',
        'tunnel: {protocol: POST, targetHost: a.b, targetPort: 1}',
        'tls: {mode: MUTUAL, credentialName: a}',
      ],
      ...['portLevelSettings: [{port: {number: 65535}, tls: {}}]', 'proxyProtocol: {version: V2}', 'retryBudget: {percent: 0}'],
    ],
    warned: [
      ...['outlierDetection: {consecutiveErrors: 1}', 'loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 1}}'],
      ...[
        'loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}',
        'loadBalancer: {zoneAwareLbSetting: {failoverPriority: [a]}}',
      ],
    ],
    refused: [
      ...[
        '',
        'connectionPool: {}',
        'connectionPool: {tcp: {maxConnections: -1}}',
        'connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}',
        'connectionPool: {http: {http2KeepAlive: {interval: 1s}}}',
      ],
      ...[
        'outlierDetection: {maxEjectionPercent: 101}',
        'outlierDetection: {minHealthPercent: -1}',
        'outlierDetection: {consecutiveLocalOriginFailures: 1}',
        'outlierDetection: {outlierDetectionHttpErrorCodes: [99]}',
      ],
      ...[
        'loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}}',
        'loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}',
        'loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}',
      ],
      ...[
        'loadBalancer: {consistentHash: {httpCookie: {ttl: 1s}}}',
        'loadBalancer: {consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {name: b}]}}}',
        'loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}',
      ],
      ...[
        'loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}',
        'loadBalancer: {warmup: {}}',
        'loadBalancer: {warmup: {duration: 1s, minimumPercent: 101}}',
        'loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}',
      ],
      ...[
        'tunnel: {protocol: GET, targetHost: a.b, targetPort: 1}',
        'tunnel: {targetHost: a.b, targetPort: 1}, proxyProtocol: {}',
        'tls: {mode: MUTUAL}',
        'tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}',
      ],
      ...[
        'tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}',
        'portLevelSettings: [{tls: {}}]',
        'portLevelSettings: [{port: {number: 80}}]',
        'retryBudget: {percent: -1}',
      ],
    ],
  });
  judged('DestinationRule', '{host: a, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {%}}}}', {
    taken: ['distribute: [{from: a/*, to: {a/*: 1, b: 99}}]', 'failover: [{from: a, to: b}]', 'failoverPriority: [a, b=c]'],
    refused: [
      ...[
        'distribute: [{from: a, to: {b: 99}}]',
        'distribute: [{from: a, to: {b: 0, c: 100}}]',
        'distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]',
        'failover: [{from: a, to: a}]',
      ],
      ...[
        'failover: [{from: a/b, to: c}]',
        "failover: [{from: a, to: '*'}]",
        'failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region]',
      ],
    ],
  });
  judged('DestinationRule', '{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [%]}', {
    taken: ['', '"."', 'shop'],
    refused: ['"*"', 'other', '".", other'],
  });
  judged('DestinationRule', '{host: %}', { taken: ["'*'", "'*.a.b'", 'a'], refused: ["''", 'a_b', "'a.*'"] });
});

test('ServiceEntry, WorkloadEntry', () => {
  const port = '{number: 80, name: http, protocol: HTTP}';
  judged('ServiceEntry', `{hosts: [a.b], ports: [${port}], %}`, {
    taken: [
      'resolution: STATIC, endpoints: [{address: 1.2.3.4}]',
      'resolution: DNS, endpoints: [{address: c.d}]',
      'exportTo: ["~"]',
      'addresses: [10.0.0.0/8]',
      'resolution: STATIC, workloadSelector: {labels: {a: b}}',
    ],
    warned: ['workloadSelector: {labels: {a: b}}', 'resolution: STATIC, workloadSelector: {}'],
    refused: [
      ...[
        'endpoints: [{address: 1.2.3.4}]',
        'resolution: STATIC, endpoints: [{address: c.d}]',
        'resolution: DNS_ROUND_ROBIN, endpoints: [{address: c.d}, {address: e.f}]',
        'resolution: DNS, addresses: [10.0.0.0/8]',
      ],
      ...[
        'resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {other: 1}}]',
        'resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.2.3.4}]',
        'exportTo: ["~", a]',
        'addresses: [a.b]',
      ],
      ...['resolution: DYNAMIC_DNS', "resolution: STATIC, workloadSelector: {labels: {'a*': b}}"],
    ],
  });
  judged('ServiceEntry', '{hosts: [a.b], ports: [%]}', {
    taken: [port, `${port}, {number: 81, name: x}`.replace('name: x', 'name: x, protocol: http')],
    refused: [
      `${port}, ${port}`,
      '{number: 0, name: http}',
      '{number: 80, name: ""}',
      '{number: 80, name: a_b}',
      '{number: 80, name: a, protocol: SMTP}',
      '{number: 80, name: http, targetPort: 65536}',
    ],
  });
  judged('WorkloadEntry', '{%}', {
    taken: [
      'address: a.b',
      "address: '::1'",
      'address: unix:///a',
      "address: 'unix://@a'",
      'address: 1.2.3.4, ports: {http: 65535}',
      'address: 1.2.3.4, locality: a/b/c, weight: 0',
    ],
    warned: ['network: a'],
    refused: [
      '',
      "address: ''",
      'address: a_b',
      'address: unix://a',
      'address: unix:///a/',
      'address: 1.2.3.4, ports: {http: 0}',
      'address: 1.2.3.4, ports: {a_b: 1}',
      'address: 1.2.3.4, labels: {"a b": c}',
    ],
  });
});

test('security policies', () => {
  judged('PeerAuthentication', '{%}', {
    taken: ['', 'mtls: {}', 'selector: {matchLabels: {a: b}}, portLevelMtls: {65535: {mode: STRICT}}'],
    warned: ['selector: {}'],
    refused: [
      'portLevelMtls: {80: {}}',
      'selector: {matchLabels: {a: b}}, portLevelMtls: {0: {}}',
      'selector: {matchLabels: {a: b}}, portLevelMtls: {65536: {}}',
      "selector: {matchLabels: {a: 'b*'}}",
      "selector: {matchLabels: {'': b}}",
    ],
  });
  judged('RequestAuthentication', '{jwtRules: [{%}]}', {
    taken: [
      'issuer: a',
      "jwksUri: 'https://a:8443/b'",
      "issuer: a, fromHeaders: [{name: x, prefix: 'Bearer '}]",
      'issuer: a, outputClaimToHeaders: [{header: x-a, claim: a.b}]',
      'issuer: a, timeout: 5s',
    ],
    refused: [
      ...[
        '',
        'issuer: a, audiences: [""]',
        'jwksUri: "ftp://a"',
        'jwksUri: "http://a:0"',
        'issuer: a, jwks: "{"',
        'issuer: a, fromHeaders: [{prefix: a}]',
        'issuer: a, fromParams: [""]',
        'issuer: a, fromCookies: [""]',
      ],
      ...[
        'issuer: a, outputClaimToHeaders: [{header: ":a", claim: b}]',
        'issuer: a, outputClaimToHeaders: [{header: a}]',
        'issuer: a, spaceDelimitedClaims: [""]',
        'issuer: a, timeout: 0s',
      ],
    ],
  });
  judged('AuthorizationPolicy', '{rules: [{from: [{source: {%}}]}]}', {
    taken: [
      'principals: ["*"]',
      'ipBlocks: [1.2.3.4, 10.0.0.0/8]',
      'serviceAccounts: [a, b/c]',
      'trustDomains: ["*.a", a]',
      'namespaces: [a], notIpBlocks: [1.2.3.4]',
    ],
    refused: [
      '',
      'principals: [""]',
      'ipBlocks: [a]',
      'remoteIpBlocks: [1.2.3.4/33]',
      'serviceAccounts: [a/b/c]',
      'serviceAccounts: ["a*"]',
      'serviceAccounts: [a], namespaces: [b]',
      'trustDomains: ["a*b"]',
    ],
  });
  judged('AuthorizationPolicy', '{%}', {
    taken: [
      'action: CUSTOM, provider: {name: a}, rules: [{}]',
      'targetRefs: [{kind: Service, name: a}]',
      'action: AUDIT, rules: [{to: [{operation: {ports: ["80"]}}]}]',
    ],
    warned: ['action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]'],
    refused: [
      ...[
        'action: CUSTOM, rules: [{}]',
        'provider: {name: a}',
        'action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {namespaces: [a]}}]}]',
        'targetRefs: [{kind: Pod, name: a}]',
        'targetRefs: [{kind: Service, name: a, namespace: b}]',
      ],
      ...[
        'targetRef: {kind: Service, name: a}, selector: {matchLabels: {a: b}}',
        'rules: [{from: []}]',
        'rules: [{to: [{}]}]',
        'rules: [{to: [{operation: {}}]}]',
        'rules: [{to: [{operation: {ports: ["65536"]}}]}]',
      ],
      ...[
        'rules: [{when: [{key: "", values: [a]}]}]',
        'rules: [{when: [{key: source.ip}]}]',
        'rules: [{when: [{key: source.ip, values: [a]}]}]',
        'rules: [{when: [{key: request.headers, values: [a]}]}]',
        'rules: [{when: [{key: other, values: [a]}]}]',
      ],
    ],
  });
});

test('Gateway', () => {
  const files = 'serverCertificate: /a, privateKey: /b';
  const server = "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, %}}]}";
  judged('Gateway', server, {
    taken: [files, 'credentialName: a, serverCertificate: /a', 'credentialNames: [a], privateKey: /b'],
    refused: [`credentialName: a, ${files}`, `credentialNames: [a], ${files}`, `${files}, tlsCertificates: [{${files}}]`],
  });
  judged('Gateway', "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {%}}]}", {
    taken: [
      'mode: SIMPLE, credentialName: a',
      'mode: PASSTHROUGH',
      'mode: MUTUAL, credentialName: a',
      'mode: ISTIO_MUTUAL',
      'mode: SIMPLE, tlsCertificates: [{serverCertificate: /a, privateKey: /b}]',
      'mode: SIMPLE, credentialName: a, cipherSuites: [AES128-SHA]',
    ],
    warned: [
      'mode: PASSTHROUGH, credentialName: a',
      'mode: SIMPLE, credentialName: a, cipherSuites: [NONE]',
      'mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_1',
      'httpsRedirect: true',
    ],
    refused: [
      'mode: SIMPLE',
      'mode: MUTUAL, serverCertificate: /a, privateKey: /b',
      'mode: ISTIO_MUTUAL, credentialName: a',
      'mode: SIMPLE, credentialName: a, credentialNames: [b]',
      'mode: SIMPLE, serverCertificate: /a',
      'mode: SIMPLE, credentialNames: [a, b, c]',
    ],
  });
  judged('Gateway', '{servers: [{port: {number: 80, name: a, protocol: HTTP}, %}]}', {
    taken: [
      "hosts: ['*']",
      "hosts: ['a/*.b.c']",
      "hosts: ['./a.b']",
      'hosts: [1.2.3.4]',
      "hosts: ['*'], bind: 1.2.3.4",
      "hosts: ['*'], tls: {httpsRedirect: true}",
    ],
    refused: [
      'hosts: []',
      'hosts: [short]',
      "hosts: ['*a.b']",
      "hosts: ['/a.b']",
      "hosts: ['a_b/c.d']",
      "hosts: ['*'], bind: a",
      "hosts: ['*'], tls: {mode: SIMPLE, credentialName: a}",
    ],
  });
  judged('Gateway', "{servers: [{port: {%}, hosts: ['*']}]}", {
    taken: ['number: 65535, name: a, protocol: TCP'],
    refused: [
      'number: 0, name: a, protocol: TCP',
      'number: 80, protocol: TCP',
      'number: 80, name: "", protocol: TCP',
      'number: 80, name: a, protocol: X',
      'number: 80, name: a, protocol: TCP, targetPort: 1',
      'number: 443, name: a, protocol: TLS',
    ],
  });
});

test('ports that need an address, and endpoints that need one', () => {
  const entry = '{hosts: [a.b], ports: [{number: 80, name: a, protocol: %}], resolution: NONE}';
  judged('ServiceEntry', entry, { taken: ['HTTP', 'MONGO'], warned: ['TCP', '""'] });
  judged('ServiceEntry', entry.replace('NONE', 'DNS'), { taken: ['TCP', '""'] });
  const endpoint = '{hosts: [a.b], ports: [{number: 80, name: a, protocol: HTTP}], resolution: %, endpoints: [{network: n}]}';
  judged('ServiceEntry', endpoint, { warned: ['STATIC'], refused: ['DNS', 'DNS_ROUND_ROBIN'] });
});

test('a ConfigMap of certificates stands in the namespace of the rule', () => {
  const tls = 'tls: {mode: SIMPLE, credentialName: %}';
  for (const frame of [`{host: a, trafficPolicy: {${tls}}}`, `{host: a, subsets: [{name: v, trafficPolicy: {${tls}}}]}`])
    judged('DestinationRule', frame, {
      taken: ["'configmap://a'", "'configmap://shop/a'", 'a'],
      refused: ["'configmap://other/a'", "'configmap://a/b/c'", "'configmap://'"],
    });
});
