// Rarer things of routes: templates, formatted answers, copies with other headers, hedges, upgrades, faults that a client asks for.
import { randomUUID } from 'node:crypto';
import type { AnyMessage, Route, RouteAction } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  eventually,
  hcm,
  httpBackend,
  listener as onLoopback,
  RawClient,
  ROUTER,
  startBackend,
  staticCluster,
} from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live } from '../case.ts';
import { type Ask, ask, bodies, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const to = (prefix: string, action: RouteAction = {}, more: Partial<Route> = {}): Route => ({
  match: { prefix },
  route: { cluster: 'echo', ...action },
  ...more,
});
const routed = (
  name: string,
  routes: readonly Route[],
  observe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
  more: Parameters<typeof hcm>[1] = {},
): FieldCase => ({
  name,
  start,
  parts: () => [cluster(staticCluster('echo', [echo.port])), listener(onLoopback('in', hcm(routes, more)))],
  observe: live(observe, () => ({ random: () => 0.5 })),
  expect,
});
const PATH = 'type.googleapis.com/envoy.extensions.path';
export const templates = routed(
  'path-templates',
  [
    {
      match: {
        path_match_policy: {
          name: 'envoy.path.match.uri_template.uri_template_matcher',
          typed_config: { '@type': `${PATH}.match.uri_template.v3.UriTemplateMatchConfig`, path_template: '/users/{id}/orders' },
        },
      },
      route: {
        cluster: 'echo',
        path_rewrite_policy: {
          name: 'envoy.path.rewrite.uri_template.uri_template_rewriter',
          typed_config: { '@type': `${PATH}.rewrite.uri_template.v3.UriTemplateRewriteConfig`, path_template_rewrite: '/o/{id}' },
        },
      },
    },
  ],
  async ({ port }) => (await bodies(port(), [['/users/7/orders'], ['/users/7']])).map((body) => body.split('\n')[0]),
  ['GET /o/7 HTTP/1.1', '404'],
);
export const formattedAnswer = routed(
  'formatted-answer',
  [
    {
      match: { prefix: '/' },
      direct_response: {
        status: 200,
        body: { inline_string: 'b' },
        body_format: { text_format_source: { inline_string: '<%LOCAL_REPLY_BODY% %PROTOCOL%>' } },
      },
    },
  ],
  ({ port }) => bodies(port(), [['/']]),
  ['<b HTTP/1.1>'],
);

const FAULT = 'envoy.filters.http.fault';
const fault = (more: object): { readonly [name: string]: AnyMessage } => ({
  [FAULT]: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault', ...more },
});
const all = { percentage: { numerator: 100 } };
export const askedFaults = routed(
  'asked-faults',
  [
    to('/abort', {}, { typed_per_filter_config: fault({ abort: { header_abort: {}, ...all } }) }),
    to('/delay', {}, { typed_per_filter_config: fault({ delay: { header_delay: {}, ...all } }) }),
    to('/body', {}, { typed_per_filter_config: fault({ abort: { http_status: 418, response_body: 'own', ...all } }) }),
    to('/nodes', {}, { typed_per_filter_config: fault({ downstream_nodes: ['n'], abort: { http_status: 418, ...all } }) }),
    to('/few', {}, { typed_per_filter_config: fault({ max_active_faults: 0, abort: { http_status: 418, ...all } }) }),
    to('/'),
  ],
  async ({ port }) => {
    const status = async (path: string, more?: Ask): Promise<number> => (await ask(port(), path, more)).status;
    const from = performance.now();
    await ask(port(), '/delay', { headers: ['x-envoy-fault-delay-request: 100'] });
    const took = performance.now() - from > 90;
    return [
      await status('/abort', { headers: ['x-envoy-fault-abort-request: 404'] }),
      took,
      (await ask(port(), '/body')).body,
      await status('/nodes'),
      await status('/nodes', { headers: ['x-envoy-downstream-service-node: n'] }),
      await status('/few'),
    ];
  },
  [404, true, 'own', 200, 418, 200],
  {
    http_filters: [
      { name: FAULT, typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault' } },
      ROUTER,
    ],
  },
);

/** The first try of a request stays without an answer. */
const startSlow = async () => {
  const tries = new Map<string, number>();
  echo = await httpBackend((_, head) => {
    const key = /^x-key: (.*)$/im.exec(head)?.[1] ?? '';
    const n = tries.get(key) ?? 0;
    tries.set(key, n + 1);
    return n === 0 ? 'silent' : `try ${n}`;
  });
  return echo;
};
const hedging: FieldCase = {
  ...routed('x', [], async () => undefined, undefined),
  name: 'hedges',
  start: startSlow,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: {
            name: 'r',
            virtual_hosts: [
              {
                name: 'own',
                domains: ['own.test'],
                hedge_policy: { hedge_on_per_try_timeout: true },
                routes: [
                  to('/', {
                    retry_policy: {
                      retry_on: 'retriable-4xx',
                      num_retries: 1,
                      per_try_timeout: '0.05s',
                      retry_back_off: { base_interval: '0.001s' },
                    },
                  }),
                ],
              },
              {
                name: 'v',
                domains: ['*'],
                routes: [
                  to('/', {
                    hedge_policy: { hedge_on_per_try_timeout: true },
                    retry_policy: {
                      retry_on: 'retriable-4xx',
                      num_retries: 1,
                      per_try_timeout: '0.05s',
                      retry_back_off: { base_interval: '0.001s' },
                    },
                  }),
                ],
              },
            ],
          },
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => [
    (await ask(port(), '/', { host: 'own.test', headers: [`x-key: ${randomUUID()}`] })).body,
    (await ask(port(), '/', { headers: [`x-key: ${randomUUID()}`] })).body,
  ]),
  expect: ['try 1', 'try 1'],
};
export const hedges = hedging;

const copies = new Map<string, string>();
let copy: Backend;
export const mirroredHeaders: FieldCase = {
  name: 'mirrored-headers',
  start: async () => {
    copy = await httpBackend((_, head) => {
      copies.set(/^x-key: (.*)$/im.exec(head)?.[1] ?? '', head);
      return '';
    });
    return copy;
  },
  parts: () => [
    cluster(staticCluster('copy', [copy.port])),
    cluster(staticCluster('main', [])),
    listener(
      onLoopback(
        'in',
        hcm([
          {
            match: { prefix: '/' },
            route: {
              cluster: 'copy',
              request_mirror_policies: [
                {
                  cluster: 'copy',
                  host_rewrite_literal: 'copy.test',
                  request_headers_mutations: [
                    { append: { header: { key: 'x-key', value: '%REQ(x-other)%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } },
                    { remove: 'x-out' },
                  ],
                },
              ],
            },
          },
        ]),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const other = randomUUID();
    await ask(port(), '/', { headers: [`x-key: ${randomUUID()}`, `x-other: ${other}`, 'x-out: 1'] });
    await Promise.race([eventually(() => copies.has(other), 'a copy'), new Promise((resolve) => setTimeout(resolve, 400))]).catch(
      () => undefined,
    );
    const head = copies.get(other) ?? '';
    return [/^host: (.*)$/im.exec(head)?.[1], /^x-out/im.test(head)];
  }),
  expect: ['copy.test', false],
};

// --- upgrades and CONNECT

let lines: Backend;
const startLines = async () => {
  lines = await startBackend((socket, text) => socket.write(text));
  return lines;
};
const connectTo = (
  name: string,
  upgrade: NonNullable<RouteAction['upgrade_configs']>[number],
  text: string,
  expect: unknown,
): FieldCase => ({
  name,
  start: startLines,
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    listener(
      onLoopback(
        'in',
        hcm(
          [
            { match: { connect_matcher: {} }, route: { cluster: 'lines', upgrade_configs: [upgrade] } },
            { match: { prefix: '/' }, route: { cluster: 'lines', upgrade_configs: [upgrade] } },
          ],
          {
            upgrade_configs: [{ upgrade_type: 'CONNECT' }],
          },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const client = await RawClient.open(port());
    const timer = setTimeout(() => client.close(), 800);
    client.send(text);
    const said = await client.bytes(15).catch(() => 'nothing');
    client.send('hi');
    const rest = await client.rest();
    clearTimeout(timer);
    client.close();
    return [said, /PROXY TCP4|hi/.exec(rest)?.[0] ?? 'no more'];
  }),
  expect,
});
const CONNECT = 'CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n';
export const connectEnds = connectTo('connect-ends', { upgrade_type: 'CONNECT', connect_config: {} }, CONNECT, ['HTTP/1.1 200 OK', 'hi']);
export const connectProxied = connectTo(
  'connect-proxied',
  { upgrade_type: 'CONNECT', connect_config: { proxy_protocol_config: { version: 'V1' } } },
  CONNECT,
  ['HTTP/1.1 200 OK', 'PROXY TCP4'],
);
export const upgradeOff = connectTo('connect-off', { upgrade_type: 'CONNECT', enabled: false }, CONNECT, ['HTTP/1.1 403 Fo', 'no more']);
