// Retry decisions.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  compileRetry,
  type ResetKind,
  rateLimitedBackOffMs,
  retryBackOffMs,
  shouldRetryReset,
  shouldRetryStatus,
} from '../../src/plan/retry.ts';
import { requestRetry } from '../../src/plan/retry-request.ts';
import { block, request } from './request.ts';

const on = (retry_on: string, more: object = {}) => compileRetry({ retry_on, ...more });

describe('by response', () => {
  const cases: [string, number, Record<string, string>, boolean][] = [
    ['5xx', 500, {}, true],
    ['5xx', 499, {}, false],
    ['gateway-error', 503, {}, true],
    ['gateway-error', 500, {}, false],
    ['retriable-4xx', 409, {}, true],
    ['retriable-4xx', 404, {}, false],
    ['connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes', 503, {}, false],
    ['unavailable, cancelled', 200, { 'grpc-status': '14' }, true],
    ['unavailable,cancelled', 200, { 'grpc-status': '1' }, true],
    ['unavailable,cancelled', 200, { 'grpc-status': '13' }, false],
    ['deadline-exceeded', 200, { 'grpc-status': '4' }, true],
    ['resource-exhausted', 200, { 'grpc-status': '8' }, true],
    ['internal', 200, { 'grpc-status': '13' }, true],
    ['5xx', 503, { 'x-envoy-overloaded': 'true' }, true],
    ['5xx', 503, { 'x-envoy-ratelimited': 'true' }, false],
    ['envoy-ratelimited', 429, { 'x-envoy-ratelimited': 'true' }, true],
    ['nonsense', 503, {}, false],
  ];
  for (const [words, status, headers, want] of cases)
    test(`${words} ${status} ${JSON.stringify(headers)}`, () => assert.equal(shouldRetryStatus(on(words), status, block(headers)), want));

  test('listed codes and headers', () => {
    const codes = on('retriable-status-codes', { retriable_status_codes: [418, 503] });
    assert.ok(shouldRetryStatus(codes, 418, block()) && !shouldRetryStatus(codes, 500, block()));
    const headers = on('retriable-headers', { retriable_headers: [{ name: 'X-Again', string_match: { exact: 'yes' } }] });
    assert.ok(shouldRetryStatus(headers, 200, block({ 'x-again': 'yes' })) && !shouldRetryStatus(headers, 200, block({ 'x-again': 'no' })));
  });

  test('requests may have to qualify', () => {
    const get = on('5xx', { retriable_request_headers: [{ name: ':method', string_match: { exact: 'GET' } }] });
    assert.equal(requestRetry(get, request('/')), get);
    assert.equal(requestRetry(get, request('/', { method: 'POST' })), undefined);
  });
});

test('with idempotent requests alone, others are tried again only while nothing was sent', () => {
  const plan = on('5xx,retriable-4xx', { retry_options_predicates: [{ name: 'skein.retry.idempotent_only.v1' }] });
  const get = requestRetry(plan, request('/'));
  const post = requestRetry(plan, request('/', { method: 'POST' }));
  assert.ok(get !== undefined && post !== undefined);
  assert.ok(shouldRetryStatus(get, 503, block()) && shouldRetryReset(get, 'reset', true));
  assert.ok(!shouldRetryStatus(post, 503, block()) && !shouldRetryStatus(post, 409, block()));
  assert.ok(!shouldRetryReset(post, 'reset', true) && !shouldRetryReset(post, 'per-try-timeout', true));
  assert.ok(shouldRetryReset(post, 'reset', false) && shouldRetryReset(post, 'connect-failure', false));
  assert.ok(shouldRetryReset(post, 'refused-stream', true));
  assert.ok(
    !shouldRetryReset(
      requestRetry(
        on('retriable-4xx', { retry_options_predicates: [{ name: 'skein.retry.idempotent_only.v1' }] }),
        request('/', { method: 'POST' }),
      ) ?? plan,
      'reset',
      false,
    ),
  );
  assert.throws(() => on('5xx', { retry_options_predicates: [{ name: 'other' }] }), /retry_options_predicates\[0\]/);
});

test('by reset', () => {
  const table: [string, ResetKind[]][] = [
    ['5xx', ['connect-failure', 'reset', 'refused-stream', 'per-try-timeout']],
    ['gateway-error', ['connect-failure', 'reset', 'refused-stream', 'per-try-timeout']],
    ['reset', ['connect-failure', 'reset', 'refused-stream', 'per-try-timeout']],
    ['connect-failure', ['connect-failure']],
    ['refused-stream', ['refused-stream']],
    ['retriable-4xx', []],
  ];
  const kinds: ResetKind[] = ['connect-failure', 'reset', 'refused-stream', 'per-try-timeout', 'overflow'];
  for (const [words, want] of table)
    assert.deepEqual(
      kinds.filter((k) => shouldRetryReset(on(words), k, true)),
      want,
      words,
    );
  assert.ok(shouldRetryReset(on('reset-before-request'), 'reset', false));
  assert.ok(!shouldRetryReset(on('reset-before-request'), 'reset', true));
});

test('back-off: full jitter, doubling, capped', () => {
  const plan = on('5xx');
  const most = (attempt: number) => retryBackOffMs(plan, attempt, () => 0.999_999);
  assert.deepEqual([1, 2, 3, 4, 5, 60].map(most), [24, 49, 99, 199, 249, 249]);
  assert.equal(
    retryBackOffMs(plan, 3, () => 0),
    0,
  );
  assert.equal(
    retryBackOffMs(on('5xx', { retry_back_off: { base_interval: '0.050s', max_interval: '0.075s' } }), 2, () => 0.999_999),
    74,
  );
});

test('rate-limited back-off', () => {
  const plan = on('5xx', {
    rate_limited_retry_back_off: {
      reset_headers: [{ name: 'Retry-After' }, { name: 'X-Reset', format: 'UNIX_TIMESTAMP' }],
      max_interval: '10s',
    },
  });
  assert.equal(
    rateLimitedBackOffMs(plan, block({ 'retry-after': '2' }), 0, () => 0),
    2000,
  );
  assert.equal(
    rateLimitedBackOffMs(plan, block({ 'x-reset': '105' }), 100_000, () => 0.5),
    6250,
  );
  assert.equal(
    rateLimitedBackOffMs(plan, block({ 'retry-after': '11' }), 0, () => 0),
    undefined,
  );
  assert.equal(
    rateLimitedBackOffMs(plan, block({ 'retry-after': 'soon' }), 0, () => 0),
    undefined,
  );
});

test('plugins and bounds', () => {
  const plan = on('5xx', {
    retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
    host_selection_retry_max_attempts: 5,
    retry_priority: { name: 'envoy.retry_priorities.previous_priorities', typed_config: { '@type': 't', update_frequency: 2 } },
    per_try_timeout: '0.250s',
  });
  assert.deepEqual(
    [plan.numRetries, plan.avoidPreviousHosts, plan.hostSelectionMaxAttempts, plan.previousPrioritiesEvery, plan.perTryTimeoutMs],
    [1, true, 5, 2, 250],
  );
  assert.throws(() => on('5xx', { retry_host_predicate: [{ name: 'other' }] }), /retry_host_predicate\[0\]/);
  assert.throws(() => on('5xx', { retry_back_off: { base_interval: '1s', max_interval: '0.5s' } }), /max_interval/);
});
