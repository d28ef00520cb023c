// Time-outs of a route, retries, and what of a request is kept for them.
import { randomUUID } from 'node:crypto';
import type { Route, RouteAction, RouteConfiguration, VirtualHost } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { type Ask, ask } from '../http-probe.ts';

let backend: Backend;
/** Answers as `x-plan: 503,reset,200` says, one step a try; `x-key` tells requests apart. */
const start = async () => {
  const tries = new Map<string, number>();
  backend = await httpBackend((_, head) => {
    const key = /^x-key: (.*)$/im.exec(head)?.[1] ?? '';
    const n = tries.get(key) ?? 0;
    tries.set(key, n + 1);
    const step = /^x-plan: (.*)$/im.exec(head)?.[1]?.split(',')[n] ?? '200';
    if (step === 'reset' || step === 'silent') return step;
    const [status, header] = step.split(' ');
    return `HTTP/1.1 ${status} Any\r\n${header === undefined ? '' : `${header}: 1\r\n`}x-tries: ${n + 1}\r\ncontent-length: 0\r\n\r\n`;
  });
  return backend;
};

const asked = async (port: number, path: string, plan: string, more: Ask = {}): Promise<string> => {
  try {
    const answer = await ask(port, path, { ...more, headers: [`x-plan: ${plan}`, `x-key: ${randomUUID()}`, ...(more.headers ?? [])] });
    return `${answer.status} ${answer.headers.get('x-tries') ?? ''}`.trim();
  } catch (e) {
    return e instanceof Error ? e.message.slice(0, 16) : '';
  }
};
const to = (prefix: string, action: RouteAction, more: Partial<Route> = {}): Route => ({
  match: { prefix },
  route: { cluster: 'backend', ...action },
  ...more,
});
const parts = (routes: readonly Route[], host: Partial<VirtualHost> = {}, config: Partial<RouteConfiguration> = {}) => [
  cluster(staticCluster('backend', [backend.port])),
  listener(
    onLoopback('in', hcm([], { route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes, ...host }], ...config } })),
  ),
];

const quick = { base_interval: '0.001s', max_interval: '0.002s' };

export const routeTimeouts: FieldCase = {
  name: 'route-timeouts',
  start,
  parts: () =>
    parts(
      [
        to('/timeout', { timeout: '0.05s' }),
        to('/idle', { timeout: '0s', idle_timeout: '0.05s' }),
        to('/stream', { timeout: '0s', max_stream_duration: { max_stream_duration: '0.05s' } }),
        to('/grpc-max', { timeout: '0s', max_stream_duration: { grpc_timeout_header_max: '0.05s' } }),
        to('/grpc-offset', { timeout: '0s', max_stream_duration: { grpc_timeout_header_max: '0s', grpc_timeout_header_offset: '1.45s' } }),
        to('/old-max', { timeout: '0s', max_grpc_timeout: '0.05s' }),
        to('/old-offset', { timeout: '0s', max_grpc_timeout: '0s', grpc_timeout_offset: '1.45s' }),
        to('/try', { retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.05s', retry_back_off: quick } }),
        to('/try-idle', { retry_policy: { retry_on: '5xx', num_retries: 1, per_try_idle_timeout: '0.05s', retry_back_off: quick } }),
      ],
      { include_is_timeout_retry_header: true },
    ),
  observe: live(async ({ port }) => {
    const grpc = (timeout: string): Ask => ({
      method: 'POST',
      headers: [`grpc-timeout: ${timeout}`, 'content-type: application/grpc', 'content-length: 0'],
    });
    return await Promise.all([
      asked(port(), '/timeout', 'silent'),
      asked(port(), '/idle', 'silent'),
      asked(port(), '/stream', 'silent'),
      asked(port(), '/grpc-max', 'silent', grpc('60S')),
      asked(port(), '/grpc-offset', 'silent', grpc('1500m')),
      asked(port(), '/old-max', 'silent', grpc('60S')),
      asked(port(), '/old-offset', 'silent', grpc('1500m')),
      asked(port(), '/try', 'silent,200'),
      asked(port(), '/try-idle', 'silent,200'),
    ]);
  }),
  expect: ['504', '504', '504', '200', '200', '200', '200', '200 2', '200 2'],
};

export const routeRetries: FieldCase = {
  name: 'route-retries',
  start,
  parts: () =>
    parts(
      [
        to('/number', { retry_policy: { retry_on: '5xx', num_retries: 3, retry_back_off: quick } }),
        to('/codes', { retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [418], retry_back_off: quick } }),
        to('/headers', {
          retry_policy: {
            retry_on: 'retriable-headers',
            retriable_headers: [{ name: 'x-again', present_match: true }],
            retry_back_off: quick,
          },
        }),
        to('/request', {
          retry_policy: { retry_on: '5xx', retriable_request_headers: [{ name: 'x-may', present_match: true }], retry_back_off: quick },
        }),
        to('/limited', {
          retry_policy: {
            retry_on: 'retriable-status-codes',
            retriable_status_codes: [429],
            retry_back_off: { base_interval: '1.2s', max_interval: '1.2s' },
            rate_limited_retry_back_off: { reset_headers: [{ name: 'x-reset', format: 'SECONDS' }], max_interval: '5s' },
          },
        }),
        to('/by-host', {}),
      ],
      { retry_policy: { retry_on: 'gateway-error', num_retries: 1, retry_back_off: quick } },
    ),
  observe: live(async ({ port }) => [
    await asked(port(), '/number', '503,503,503,200'),
    await asked(port(), '/codes', '418,200'),
    await asked(port(), '/headers', '200 x-again,200'),
    await asked(port(), '/request', '503,200', { headers: ['x-may: 1'] }),
    await asked(port(), '/request', '503,200'),
    await asked(port(), '/by-host', '503,200'),
  ]),
  expect: ['200 4', '200 2', '200 2', '200 2', '503 1', '200 2'],
};

const body = 'x'.repeat(40);

export const routeBuffers: FieldCase = {
  name: 'route-buffers',
  start,
  parts: () =>
    parts([
      to('/small', { retry_policy: { retry_on: '5xx', retry_back_off: quick } }, { per_request_buffer_limit_bytes: 20 }),
      to('/newer', { retry_policy: { retry_on: '5xx', retry_back_off: quick } }, { request_body_buffer_limit: 20 }),
    ]),
  observe: live(async ({ port }) => [
    await asked(port(), '/small', '503,200', { method: 'POST', body }),
    await asked(port(), '/newer', '503,200', { method: 'POST', body }),
  ]),
  expect: ['503 1', '503 1'],
};

export const hostBuffers: FieldCase = {
  name: 'virtual-host-buffers',
  start,
  parts: () => [
    cluster(staticCluster('backend', [backend.port])),
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: {
            name: 'r',
            virtual_hosts: [
              {
                name: 'old',
                domains: ['old.test'],
                per_request_buffer_limit_bytes: 20,
                routes: [to('/', { retry_policy: { retry_on: '5xx', retry_back_off: quick } })],
              },
              {
                name: 'new',
                domains: ['*'],
                request_body_buffer_limit: 20,
                routes: [to('/', { retry_policy: { retry_on: '5xx', retry_back_off: quick } })],
              },
            ],
          },
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => [
    await asked(port(), '/', '503,200', { method: 'POST', body, host: 'old.test' }),
    await asked(port(), '/', '503,200', { method: 'POST', body }),
  ]),
  expect: ['503 1', '503 1'],
};
