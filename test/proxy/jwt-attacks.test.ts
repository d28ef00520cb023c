// What no token may come through with, over real sockets: refused here, and where a stock Envoy refuses it too, with the same answer
// and the same words in its log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileProvider } from '../../src/plan/jwt/jwt-provider.ts';
import { httpBackend, ok, type RawResponse, startPlane, staticCluster } from './harness.ts';
import { ATTACKS, GUARD } from './jwt-attack-table.ts';
import { ask, bearing, jwtListener, provider } from './jwt-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';
import { CLAIMS, mint, RSA } from './token-mint.ts';

const seen = ({ status, body, headers }: RawResponse) => [status, body, headers.get('www-authenticate'), headers.get('grpc-status')];
const listeners = [jwtListener('in', GUARD)];

test('no attack reaches the backend, asked once or again, and none stops the proxy', async () => {
  let reached = 0;
  await using backend = await httpBackend(() => {
    reached++;
    return 'reached';
  });
  await using ours = await startPlane({ clusters: [staticCluster('web', [backend.port])], listeners });
  for (const { name, request, good } of ATTACKS) {
    for (const _ of [1, 2]) {
      const before = reached;
      const { status } = await ask(ours.port('in'), request);
      if (good === true) assert.equal(status, 200, name);
      else {
        assert.ok([400, 401, 403, 431].includes(status), `${name}: ${status}`);
        assert.equal(reached, before, name);
      }
    }
  }
  const said = ours.problems.join('\n');
  assert.equal(/eyJ[\w-]{20}/.test(said), false, 'no token in the log');
});

test('what a stock Envoy refuses is refused in the same way; what it lets in is listed with a reason', { skip: NO_ENVOY }, async () => {
  await using backend = await httpBackend(() => 'reached');
  const clusters = [staticCluster('web', [backend.port])];
  await using ours = await startPlane({ clusters, listeners });
  await using envoy = await startEnvoy({ clusters, listeners });
  const same: number[] = [];
  for (const [i, { name, request, stricter }] of ATTACKS.entries()) {
    const mine = await ask(ours.port('in'), request);
    const its = await ask(envoy.port('in'), request);
    if (stricter === undefined) {
      assert.deepEqual(seen(mine), seen(its), name);
      same.push(i);
    } else {
      assert.equal(its.status, 200, `${name}: Envoy refuses it too, so it stands in the list for nothing`);
      assert.equal(mine.status, 401, name);
    }
  }
  for (const until = performance.now() + 20_000; envoy.log().length < ATTACKS.length && performance.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  const [mine, its] = [ours.http, envoy.log()];
  assert.deepEqual([mine.length, its.length], [ATTACKS.length, ATTACKS.length]);
  for (const i of same) {
    const log = its[i];
    assert.deepEqual(
      [mine[i]?.status, mine[i]?.flags, mine[i]?.details],
      [log?.status, log?.flags === '-' ? '' : log?.flags, log?.details],
      ATTACKS[i]?.name,
    );
  }
});

const TELLING = jwtListener('in', {
  providers: { p: provider({ claim_to_headers: [{ header_name: 'X-Sub', claim_name: 'sub' }] }) },
});
const SUBJECTS = [
  'a\r\nx-admin: true',
  'a\nb',
  'a\u0000b',
  '\u001f',
  '\u007f',
  'a\tb',
  ' a ',
  'é',
  '\u0080',
  'Ł',
  'a\u010d\u010ax-admin: true',
  '𝄞',
];
const asSubject = (sub: string) => bearing(mint({ alg: 'RS256', kid: 'k1' }, { ...CLAIMS, sub }, RSA));
/** The header as the backend saw it. */
const told = (body: string): string | undefined => /^x-sub:.*$/m.exec(body)?.[0];

test('a claim that would end its header line is told to nobody', async () => {
  await using backend = await httpBackend((_, head) => ok(head.replaceAll('\r', '')));
  await using ours = await startPlane({ clusters: [staticCluster('web', [backend.port])], listeners: [TELLING] });
  for (const sub of SUBJECTS.slice(0, 5)) {
    const { status, body } = await ask(ours.port('in'), asSubject(sub));
    assert.deepEqual([status, body], [503, 'invalid header value for: x-sub'], JSON.stringify(sub));
  }
  assert.deepEqual(
    ours.http.map((l) => [l.flags, l.details]),
    SUBJECTS.slice(0, 5).map(() => ['DPE', 'filter_removed_required_request_headers{invalid_header_value_for:_x-sub}']),
  );
});

test('claims in headers are told as a stock Envoy tells them', { skip: NO_ENVOY }, async () => {
  await using backend = await httpBackend((_, head) => ok(head.replaceAll('\r', '')));
  const clusters = [staticCluster('web', [backend.port])];
  await using ours = await startPlane({ clusters, listeners: [TELLING] });
  await using envoy = await startEnvoy({ clusters, listeners: [TELLING] });
  for (const sub of SUBJECTS) {
    const [mine, its] = [await ask(ours.port('in'), asSubject(sub)), await ask(envoy.port('in'), asSubject(sub))];
    assert.deepEqual([mine.status, told(mine.body)], [its.status, told(its.body)], JSON.stringify(sub));
  }
});

test('a claim is never told in what a request is made of', () => {
  for (const name of [':path', ':authority', ':nope', 'host', 'Content-Length', 'transfer-encoding', 'connection', 'x y', 'a\r\nb']) {
    const claim_to_headers = [{ header_name: name, claim_name: 'sub' }];
    for (const config of [provider({ claim_to_headers }), provider({ forward_payload_header: name })])
      assert.throws(() => compileProvider('p', config, 'providers.p'), /is no header that may be set from a token/, name);
  }
  assert.doesNotThrow(() => compileProvider('p', provider({ forward_payload_header: 'X-JWT_payload' }), 'providers.p'));
});
