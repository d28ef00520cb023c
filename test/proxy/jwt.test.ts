// jwt_authn over real sockets: where tokens are found, what is asked of them, what they tell, and what hostile ones come to; held to
// a stock Envoy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { JwtAuthentication, JwtRequirement, Listener } from '../../src/xds/gen/types.ts';
import { httpBackend, type Plane, type RawResponse, startPlane, staticCluster } from './harness.ts';
import { ask, bearing, JWT_PER_ROUTE, type JwtRequest, jwtListener, provider } from './jwt-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';
import { base64url, CLAIMS, ED25519, mint, OTHER_RSA, P256, RSA, SECRET } from './token-mint.ts';

const RS = { alg: 'RS256', kid: 'k1' };
const now = Math.floor(Date.now() / 1000);
const good = mint(RS, CLAIMS, RSA);
const alsoGood = mint({ alg: 'PS256', kid: 'ps' }, CLAIMS, RSA);
const expired = mint(RS, { ...CLAIMS, exp: now - 3600 }, RSA);
const other = mint(RS, { ...CLAIMS, iss: 'other' }, RSA);
const MANY = {
  ...CLAIMS,
  num: 7,
  neg: -3,
  flt: 1.5,
  t: true,
  f: false,
  obj: { a: 1 },
  groups: ['a', 'b'],
  nul: null,
  empty: '',
  n: { d: { e: 'deep' } },
  'dot.ted': 'dd',
  scope: 'read write',
};
const many = mint(RS, MANY, RSA);

const TOKENS: Readonly<Record<string, string>> = {
  good,
  alsoGood,
  expired,
  other,
  'within the skew': mint(RS, { ...CLAIMS, exp: now - 30 }, RSA),
  'not yet': mint(RS, { ...CLAIMS, nbf: now + 3600 }, RSA),
  'exp of zero': mint(RS, { ...CLAIMS, exp: 0 }, RSA),
  'no issuer': mint(RS, { sub: 'a', aud: 'api' }, RSA),
  'no audience': mint(RS, { iss: CLAIMS.iss }, RSA),
  'one audience of two': mint(RS, { ...CLAIMS, aud: ['x', 'https://api/'] }, RSA),
  'another audience': mint(RS, { ...CLAIMS, aud: 'apis' }, RSA),
  'another key': mint(RS, CLAIMS, OTHER_RSA),
  'another key id': mint({ alg: 'RS256', kid: 'zz' }, CLAIMS, RSA),
  'no key id': mint({ alg: 'RS256' }, CLAIMS, RSA),
  'HMAC with the public key': mint({ alg: 'HS256', kid: 'k1' }, CLAIMS, Buffer.from(RSA.publicKey.export({ type: 'spki', format: 'pem' }))),
  'HMAC with its secret': mint({ alg: 'HS256', kid: 'h1' }, CLAIMS, SECRET),
  elliptic: mint({ alg: 'ES256', kid: 'e1' }, CLAIMS, P256),
  Edwards: mint({ alg: 'EdDSA', kid: 'ed' }, CLAIMS, ED25519),
  'RSA said to be of an elliptic key': mint({ alg: 'RS256', kid: 'e1' }, CLAIMS, RSA),
  none: `${base64url({ alg: 'none' })}.${base64url(CLAIMS)}.`,
  'none with a signature': `${base64url({ alg: 'none' })}.${base64url(CLAIMS)}.AA`,
  'no alg': mint(JSON.stringify({ typ: 'JWT' }), CLAIMS, RSA),
  'issuer twice': mint(RS, '{"iss":"https://issuer.test","iss":"evil","aud":"api"}', RSA),
  'issuer twice, the good one last': mint(RS, '{"iss":"evil","iss":"https://issuer.test","aud":"api"}', RSA),
  'claims that are a list': mint(RS, '[]', RSA),
  'bad base64': `${base64url(RS)}.!!.AA`,
  'bad signature base64': `${base64url(RS)}.${base64url(CLAIMS)}.!!`,
  'two parts': 'a.b',
  'four parts': 'a.b.c.d',
  huge: mint(RS, { ...CLAIMS, pad: 'x'.repeat(30_000) }, RSA),
  tampered: `${base64url(RS)}.${base64url({ ...CLAIMS, sub: 'eve' })}.${good.split('.')[2]}`,
  padded: `${good}==`,
};

const named = (name: string): JwtRequirement => ({ provider_name: name });
const two = {
  p: provider({ forward: true, failed_status_in_metadata: 'failure' }),
  q: provider({ issuer: 'other', payload_in_metadata: 'q' }),
};
const rule = (requires: JwtRequirement): Partial<JwtAuthentication> => ({ providers: two, rules: [{ match: { prefix: '/' }, requires }] });
const anyOf = (...requirements: JwtRequirement[]): JwtRequirement => ({ requires_any: { requirements } });
const allOf = (...requirements: JwtRequirement[]): JwtRequirement => ({ requires_all: { requirements } });
const orNone = (name: string): JwtRequirement => anyOf(named(name), { allow_missing: {} });
const claimsTo = (...names: string[]) => names.map((claim_name) => ({ header_name: `x-${claim_name.replaceAll('.', '-')}`, claim_name }));

const SOME: readonly JwtRequest[] = [
  {},
  bearing(good),
  bearing(other),
  bearing(expired),
  bearing('a.b'),
  { path: `/?access_token=${other}`, headers: [`authorization: Bearer ${good}`] },
  { path: `/?access_token=${expired}`, headers: [`authorization: Bearer ${good}`] },
];
const PLACES = {
  from_headers: [{ name: 'X-A', value_prefix: 'Tok ' }, { name: 'x-b' }],
  from_params: ['t'],
  from_cookies: ['c'],
};

interface Case {
  readonly name: string;
  readonly config: Partial<JwtAuthentication>;
  readonly requests: readonly JwtRequest[];
}

const CASES: readonly Case[] = [
  {
    name: 'tokens',
    config: { providers: { p: provider({ audiences: ['api'], forward: true }) } },
    requests: Object.values(TOKENS).map(bearing),
  },
  {
    name: 'where the header holds them',
    config: {},
    requests: [
      {},
      { headers: ['authorization: '] },
      { headers: ['authorization: Bearer '] },
      { headers: ['authorization: Basic x'] },
      { headers: [`authorization: bearer ${good}`] },
      { headers: [`authorization: x Bearer ${good}`] },
      { headers: [`authorization: Bearer    ${good}`] },
      { headers: [`authorization: Bearer ${good},x`] },
      { headers: [`authorization: Bearer "${good}"`] },
      { headers: [`authorization: Bearer ${good}`, `authorization: Bearer ${expired}`] },
      { headers: [`authorization: Bearer ${expired}`, `authorization: Bearer ${good}`] },
      { path: '/?access_token=' },
      { path: `/a?access_token=${good}&x=1` },
      { path: `/a?x=1&access_token=${good}&y=` },
      { path: `/a?access_token=${good}` },
      { path: `/a?access_token=${good}`, headers: [`authorization: Bearer ${expired}`] },
      { path: `/a?access_token=${expired}`, headers: [`authorization: Bearer ${good}`] },
      { path: `/${'x'.repeat(300)}` },
      { headers: ['content-type: application/grpc'] },
    ],
  },
  {
    name: 'places of their own',
    config: { providers: { p: provider(PLACES) } },
    requests: [
      bearing(good),
      { headers: [`x-a: Tok ${good}`] },
      { headers: [`x-a: ${good}`] },
      { headers: [`x-b: ${good}`] },
      { headers: [`x-b: ${good}`, `x-b: ${expired}`] },
      { headers: [`x-b: ${good}`, `x-b: ${alsoGood}`] },
      { path: `/?t=${good}` },
      { path: `/?t=${good.replace('e', '%65')}` },
      { path: `/?t=${good}&t=${expired}` },
      { headers: [`cookie: a=b; c=${good}`] },
      { headers: [`cookie: a=b; c="${good}"`] },
      { headers: [`cookie: c=${good}; c=${expired}`] },
      { headers: [`cookie: c=${good}`, `x-b: ${expired}`] },
    ],
  },
  { name: 'either', config: rule(anyOf(named('p'), named('q'))), requests: SOME },
  { name: 'both', config: rule(allOf(named('p'), named('q'))), requests: SOME },
  { name: 'none or one', config: rule({ allow_missing: {} }), requests: SOME.slice(0, 6) },
  { name: 'whatever', config: rule({ allow_missing_or_failed: {} }), requests: SOME },
  { name: 'none or p', config: rule(orNone('p')), requests: SOME },
  { name: 'p or anything', config: rule(anyOf(named('p'), { allow_missing_or_failed: {} })), requests: SOME },
  { name: 'as Istio asks', config: rule(anyOf(named('p'), named('q'), allOf(orNone('p'), orNone('q')))), requests: SOME },
  {
    name: 'audiences of the rule',
    config: rule({ provider_and_audiences: { provider_name: 'p', audiences: ['api2'] } }),
    requests: SOME.slice(0, 4),
  },
  { name: 'nothing', config: rule({}), requests: SOME.slice(0, 4) },
  { name: 'subjects', config: { providers: { p: provider({ subjects: { prefix: 'b' } }) } }, requests: [bearing(good)] },
  {
    name: 'must expire',
    config: { providers: { p: provider({ require_expiration: true }) } },
    requests: [bearing(good), bearing(TOKENS['exp of zero'] ?? '')],
  },
  {
    name: 'lives too long',
    config: { providers: { p: provider({ max_lifetime: '60s' }) } },
    requests: [bearing(good), bearing(expired), bearing(TOKENS['exp of zero'] ?? '')],
  },
  {
    name: 'a narrow skew',
    config: { providers: { p: provider({ clock_skew_seconds: 10 }) } },
    requests: [bearing(TOKENS['within the skew'] ?? '')],
  },
  {
    name: 'claims to headers',
    config: {
      providers: {
        p: provider({
          forward_payload_header: 'x-payload',
          pad_forward_payload_header: true,
          claim_to_headers: claimsTo('sub', 'num', 'neg', 'flt', 't', 'f', 'obj', 'groups', 'nul', 'empty', 'n.d.e', 'absent', 'dot.ted'),
        }),
      },
    },
    requests: [{ headers: [`authorization: Bearer ${many}`, 'x-sub: evil', 'x-absent: evil', 'x-payload: evil'] }],
  },
  {
    name: 'rules',
    config: {
      rules: [
        { match: { prefix: '/open/' } },
        { match: { path: '/open' }, requires: named('p') },
        { match: { safe_regex: { regex: '/a.*' } }, requires: named('p') },
      ],
    },
    requests: [{ path: '/open/x' }, { path: '/open' }, { path: '/abc?x' }, { path: '/b' }],
  },
  {
    name: 'preflights',
    config: { bypass_cors_preflight: true },
    requests: [
      { method: 'OPTIONS', headers: ['origin: a', 'access-control-request-method: GET'] },
      { method: 'OPTIONS', headers: ['origin: a'] },
      { headers: ['origin: a', 'access-control-request-method: GET'] },
    ],
  },
  { name: 'without a word', config: { strip_failure_response: true }, requests: [{}, bearing(expired)] },
  {
    name: 'any issuer',
    config: { providers: { p: provider({ issuer: '' }) } },
    requests: [bearing(good), bearing(other), bearing(TOKENS['no issuer'] ?? '')],
  },
];

/** What of an answer others see, and what reached the backend, which echoes it. */
const seen = (answer: RawResponse) => {
  const lines = answer.body.split('\n').filter((line) => !/^(x-envoy-|x-forwarded-|x-request-id|content-length|connection)/.test(line));
  return [answer.status, answer.headers.get('www-authenticate'), answer.headers.get('grpc-status'), lines.join('\n')];
};
const echo = () => httpBackend((_, head) => head.split('\r\n').join('\n'));

test('every case is answered as a stock Envoy answers it, and the backend sees the same', { skip: NO_ENVOY }, async () => {
  await using backend = await echo();
  const clusters = [staticCluster('web', [backend.port])];
  const listeners = CASES.map(({ name, config }) => jwtListener(name, config));
  await using ours = await startPlane({ clusters, listeners });
  await using envoy = await startEnvoy({ clusters, listeners });
  let requests = 0;
  for (const { name, config, requests: all } of CASES) {
    for (const [i, request] of all.entries()) {
      const what = `${name} ${i} ${JSON.stringify(request).slice(0, 200)} ${JSON.stringify(config).slice(0, 80)}`;
      assert.deepEqual(seen(await ask(ours.port(name), request)), seen(await ask(envoy.port(name), request)), what);
      // Once more: what is remembered changes nothing.
      assert.deepEqual(seen(await ask(ours.port(name), request)), seen(await ask(envoy.port(name), request)), what);
      requests += 2;
    }
  }
  for (const until = performance.now() + 20_000; envoy.log().length < requests && performance.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(
    ours.http.map((l) => [l.status, l.flags, l.details]),
    envoy.log().map((l) => [l.status, l.flags === '-' ? '' : l.flags, l.details]),
  );
});

const startJwt = async (listeners: readonly Listener[]) => {
  const metadata: unknown[] = [];
  const backend = await echo();
  const observer = { ...silentObserver, httpDone: ({ dynamicMetadata }: StreamInfo) => void metadata.push({ ...dynamicMetadata }) };
  const rig: Plane = await startPlane({ clusters: [staticCluster('web', [backend.port])], listeners }, { observer });
  return {
    metadata,
    port: rig.port('in'),
    count: (name: string) => rig.plane.stats.find(`http.test.jwt_authn.${name}`)?.value,
    [Symbol.asyncDispose]: async () => {
      await rig[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
};

test('payload, header and failure go to metadata, lists written with spaces as lists', async () => {
  const own = provider({
    header_in_metadata: 'header',
    failed_status_in_metadata: 'failure',
    normalize_payload_in_metadata: { space_delimited_claims: ['scope', 'num', 'absent'] },
  });
  await using rig = await startJwt([jwtListener('in', { providers: { p: own } })]);
  for (const request of [bearing(many), bearing(many), bearing(expired), {}]) await ask(rig.port, request);
  const first = { 'envoy.filters.http.jwt_authn': { header: RS, payload: { ...MANY, scope: ['read', 'write'] } } };
  assert.deepEqual(rig.metadata, [
    first,
    first,
    { 'envoy.filters.http.jwt_authn': { failure: { code: 3, message: 'Jwt is expired' } } },
    { 'envoy.filters.http.jwt_authn': { failure: { code: 1, message: 'Jwt is missing' } } },
  ]);
  assert.deepEqual(['allowed', 'denied', 'jwt_cache_hit', 'jwt_cache_miss'].map(rig.count), [2, 2, 1, 2]);
});

test('a claim may choose the route; what was forged as one is taken away first', async () => {
  const byClaim = {
    prefix: '/',
    dynamic_metadata: [
      { filter: 'envoy.filters.http.jwt_authn', path: [{ key: 'payload' }, { key: 'sub' }], value: { string_match: { exact: 'alice' } } },
    ],
  };
  const routes = [
    { match: byClaim, direct_response: { status: 201 } },
    { match: { prefix: '/', headers: [{ name: 'x-sub', string_match: { exact: 'bob' } }] }, direct_response: { status: 202 } },
  ];
  const own = provider({ clear_route_cache: true, claim_to_headers: claimsTo('sub') });
  const requires = anyOf(named('p'), { allow_missing: {} });
  await using rig = await startJwt([jwtListener('in', { providers: { p: own }, rules: [{ match: { prefix: '/' }, requires }] }, routes)]);
  assert.equal((await ask(rig.port, bearing(good))).status, 201);
  assert.equal((await ask(rig.port, bearing(mint(RS, { ...CLAIMS, sub: 'bob' }, RSA)))).status, 202);
  assert.equal((await ask(rig.port, bearing(mint(RS, { ...CLAIMS, sub: 'eve' }, RSA)))).status, 404);
  assert.equal((await ask(rig.port, {})).status, 404);
});

test('a route may ask for what the filter names, or for nothing', async () => {
  const own = (config: object) => ({ 'envoy.filters.http.jwt_authn': { '@type': JWT_PER_ROUTE, ...config } }) as never;
  const direct = { direct_response: { status: 200 } };
  const routes = [
    { match: { prefix: '/free' }, ...direct, typed_per_filter_config: own({ disabled: true }) },
    { match: { prefix: '/q' }, ...direct, typed_per_filter_config: own({ requirement_name: 'q' }) },
    { match: { prefix: '/wrong' }, ...direct, typed_per_filter_config: own({ requirement_name: 'zz' }) },
    { match: { prefix: '/' }, ...direct },
  ];
  const config = {
    providers: two,
    requirement_map: { q: named('q'), p: named('p') },
    rules: [{ match: { prefix: '/' }, requirement_name: 'p' }],
  };
  await using rig = await startJwt([jwtListener('in', config, routes)]);
  assert.equal((await ask(rig.port, { path: '/free' })).status, 200);
  assert.equal((await ask(rig.port, { path: '/q', ...bearing(good) })).status, 401);
  assert.equal((await ask(rig.port, { path: '/q', ...bearing(other) })).status, 200);
  assert.equal((await ask(rig.port, { path: '/x', ...bearing(good) })).status, 200);
  const wrong = await ask(rig.port, { path: '/wrong', ...bearing(good) });
  assert.deepEqual([wrong.status, wrong.body], [403, 'Failed JWT authentication: Wrong requirement_name: zz. It should be one of [p,q]']);
});

test('where no route leads, a token is asked for all the same', async () => {
  await using rig = await startJwt([jwtListener('in', {}, [{ match: { prefix: '/there' }, direct_response: { status: 200 } }])]);
  assert.equal((await ask(rig.port, { path: '/x' })).status, 401);
  assert.equal((await ask(rig.port, { path: '/x', ...bearing(good) })).status, 404);
});

test('a token that is taken out of the query leaves the rest as it stands', async () => {
  await using rig = await startJwt([jwtListener('in', {})]);
  const sent = (await ask(rig.port, { path: `/a?u=a%20b&access_token=${good}&access_token=2&v` })).body.split('\n')[0];
  assert.equal(sent, 'GET /a?u=a%20b&v HTTP/1.1');
});

test('a bad token does not hide behind a good one where none need be', async () => {
  await using rig = await startJwt([jwtListener('in', rule({ allow_missing: {} }))]);
  assert.equal((await ask(rig.port, { path: `/?access_token=${expired}`, ...bearing(good) })).status, 401);
  assert.equal((await ask(rig.port, { path: `/?access_token=${good}`, ...bearing(expired) })).status, 401);
});

test('what cannot be asked of tokens is refused with its field', async () => {
  await using rig = await startPlane({});
  const take = (config: Partial<JwtAuthentication>) => () => rig.plane.setListener(jwtListener('in', config));
  const one = (more: object) => ({ providers: { p: { ...provider(), ...more } } });
  assert.throws(take({ providers: { p: { issuer: 'x' } } }), /providers\.p: says nothing of its keys/);
  assert.throws(take(one({ local_jwks: { inline_string: '{"keys":[]}' } })), /local_jwks: Jwks doesn't have any valid public key/);
  assert.throws(take(one({ local_jwks: { filename: '/nowhere/keys' } })), /local_jwks\.filename/);
  assert.throws(take(one({ claim_to_headers: [{ header_name: 'x' }] })), /claim_to_headers\[0\]/);
  assert.throws(take(rule(named('zz'))), /rules\[0\]\.requires: provider zz is not configured/);
  assert.throws(
    take({ rules: [{ match: { prefix: '/' }, requirement_name: 'zz' }] }),
    /rules\[0\]\.requirement_name: Wrong requirement_name: zz/,
  );
  assert.throws(take(rule({ extract_only_without_validation: {} })), /extract_only_without_validation/);
  assert.throws(
    take({ rules: [{ match: { prefix: '/', dynamic_metadata: [{}] } as never, requires: named('p') }] }),
    /match\.dynamic_metadata/,
  );
  assert.throws(take(rule(anyOf())), /requires_any\.requirements: must not be empty/);
});
