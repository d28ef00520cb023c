// Istio's rules of VirtualService field by field: for each a value at the edge that is taken, and one beyond it.

import { test } from 'node:test';
import { judged } from './judged.ts';

const to = 'route: [{destination: {host: a}}]';
const rule = `{hosts: [a], http: [{%}]}`;
const route = `{hosts: [a], http: [{${to}, %}]}`;

test('VirtualService: actions', () => {
  judged('VirtualService', route, {
    taken: [
      'timeout: 1ms',
      'timeout: 1h',
      'timeout: 1.001s',
      'mirror: {host: b}',
      'mirrors: [{destination: {host: b}, percentage: {value: 100}}]',
    ],
    warned: ['mirrorPercent: 100'],
    refused: [
      'timeout: 0s',
      'timeout: 1.0005s',
      'timeout: -1s',
      'mirrorPercent: 101',
      'mirrorPercentage: {value: 100.1}',
      'mirrors: [{percentage: {value: 1}}]',
    ],
  });
  judged('VirtualService', `{hosts: [a], http: [{match: [{uri: {prefix: /a}}, {uri: {%: /b}}], redirect: {prefixRewrite: /c}}]}`, {
    taken: ['prefix'],
    refused: ['exact', 'regex'],
  });
  judged('VirtualService', rule, {
    taken: [
      'redirect: {authority: b}',
      'redirect: {redirectCode: 300, uri: /b}',
      'redirect: {derivePort: FROM_REQUEST_PORT}',
      'directResponse: {status: 200}',
      'directResponse: {status: 599}',
    ],
    refused: [
      ...[
        'redirect: {}',
        'redirect: {redirectCode: 400, uri: /b}',
        'redirect: {scheme: ftp}',
        'redirect: {port: 65536}',
        'redirect: {port: 1, derivePort: FROM_REQUEST_PORT}',
      ],
      ...['redirect: {uri: /b, prefixRewrite: /c}', 'directResponse: {status: 199}', 'directResponse: {status: 601}', 'directResponse: {}'],
    ],
  });
  judged('VirtualService', `{hosts: [a], http: [{directResponse: {status: 200, body: {string: "%"}}}]}`, {
    taken: ['a'.repeat(100 * 1024)],
    warned: ['a'.repeat(100 * 1024 + 1)],
    refused: ['a'.repeat(1024 * 1024 + 1)],
  });
});

test('VirtualService: rewrite, retries, faults, CORS', () => {
  judged('VirtualService', route, {
    taken: [
      ...['rewrite: {uri: /}', 'rewrite: {authority: b}', "rewrite: {uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/\\1'}}"],
      ...[
        'retries: {attempts: 0}',
        'retries: {attempts: 0, backoff: 1s}',
        'retries: {attempts: 1, retryOn: "5xx,503,reset"}',
        'retries: {attempts: 1, perTryTimeout: 1ms}',
      ],
      ...[
        'fault: {delay: {fixedDelay: 1ms, percentage: {value: 0.0001}}}',
        'fault: {abort: {httpStatus: 200, percentage: {value: 0}}}',
        'fault: {abort: {grpcStatus: UNAVAILABLE}}',
      ],
      ...[
        'corsPolicy: {allowOrigins: [{prefix: a}], allowMethods: [GET, "*"], allowHeaders: ["*", x-a], maxAge: 1m, unmatchedPreflights: IGNORE}',
      ],
    ],
    warned: ['fault: {abort: {percentage: {value: 1}}}'],
    refused: [
      ...[
        'rewrite: {}',
        'rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}',
        'rewrite: {uriRegexRewrite: {match: a}}',
        'rewrite: {uriRegexRewrite: {match: "(", rewrite: b}}',
      ],
      ...[
        'retries: {attempts: -1}',
        'retries: {attempts: 0, retryOn: 5xx}',
        'retries: {attempts: 0, retryRemoteLocalities: true}',
        'retries: {attempts: 1, retryOn: "5xx, reset"}',
      ],
      ...['retries: {attempts: 1, retryOn: all}', 'retries: {attempts: 1, retryOn: "999"}', 'retries: {attempts: 1, backoff: 1us}'],
      ...[
        'fault: {}',
        'fault: {delay: {fixedDelay: 0s}}',
        'fault: {delay: {exponentialDelay: 1s}}',
        'fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}',
      ],
      ...[
        'fault: {abort: {httpStatus: 199}}',
        'fault: {abort: {grpcStatus: unavailable}}',
        'fault: {abort: {http2Error: A}}',
        'fault: {abort: {httpStatus: 500, percentage: {value: 100.1}}}',
      ],
      ...[
        'corsPolicy: {allowOrigins: [{exact: ""}]}',
        'corsPolicy: {allowMethods: [get]}',
        'corsPolicy: {allowHeaders: ["a b"]}',
        'corsPolicy: {maxAge: 1.5s}',
      ],
    ],
  });
});

test('VirtualService: matches', () => {
  judged('VirtualService', `{hosts: [a], http: [{${to}, match: [{%}]}]}`, {
    taken: [
      "uri: {prefix: ''}",
      'port: 65535',
      'headers: {":method": {exact: GET}}',
      'queryParams: {a: {}}',
      'sourceNamespace: a',
      'ignoreUriCase: true',
      `uri: {regex: ${'a'.repeat(1024)}}`,
    ],
    refused: [
      ...[
        "scheme: {prefix: ''}",
        "method: {regex: ''}",
        "authority: {prefix: ''}",
        "queryParams: {a: {regex: ''}}",
        'port: 65536',
        'headers: {"a b": {}}',
        "headers: {'': {}}",
      ],
      ...[
        'sourceNamespace: a.b',
        'sourceLabels: {"a b": c}',
        'gateways: ["a/b/c"]',
        `uri: {regex: ${'a'.repeat(1025)}}`,
        'uri: {exact: a, prefix: b}',
        'headers: {a: {regex: "*"}}',
      ],
    ],
  });
  judged('VirtualService', `{hosts: ['*.a.b'], gateways: [g], tls: [{match: [{%}], ${to}}]}`, {
    taken: ["sniHosts: ['*.a.b']", 'sniHosts: [c.a.b], port: 443', 'sniHosts: [c.a.b], destinationSubnets: [10.0.0.0/8]'],
    warned: ['sniHosts: [1.2.3.4]'],
    refused: ['sniHosts: []', 'sniHosts: [a.b]', "sniHosts: ['*.b']", 'sniHosts: [c.a.b], destinationSubnets: [10.0.0.0/33]'],
  });
  judged('VirtualService', `{hosts: [a], exportTo: [%], http: [{${to}}]}`, {
    taken: ['"."', '"*"', 'a, b', '".", b'],
    refused: ['"*", b', '"~"', 'a, a', '".", shop', 'a.b'],
  });
});

test('VirtualService: rules that no request reaches', () => {
  const match = (prefix: string): string => `{match: [{uri: {prefix: ${prefix}}}], ${to}}`;
  judged('VirtualService', '{hosts: [a], http: [%]}', {
    taken: [`${match('/a')}, ${match('/b')}, {${to}}`, `${match('/a/b')}, ${match('/a')}`],
    warned: [`{${to}}, {${to}}`, `{${to}}, ${match('/a')}`, `${match('/a')}, ${match('/a')}`, `${match('/a')}, ${match('/a/b')}`],
  });
});
