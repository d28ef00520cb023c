// What an authorization server says of a message never says where that message ends: a body would become the next request.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CheckResponse } from '../../src/xds/gen/types.ts';
import { GRPC, grpcAuthz, httpAuthz, OVER_HTTP, startAuthz } from './ext-authz-rig.ts';
import { RawClient } from './harness.ts';

const post = (answer: string): string =>
  `POST /p HTTP/1.1\r\nhost: a\r\nx-answer: ${answer}\r\ncontent-length: 27\r\n\r\n${'x'.repeat(27)}`;

const framed = { key: 'content-length', value: '0' };
const answers: Readonly<Record<string, CheckResponse>> = {
  'set by it': { ok_response: { headers: [{ header: framed }, { header: { key: 'transfer-encoding', value: 'chunked' } }] } },
  'appended to by it': { ok_response: { headers: [{ header: framed, append: true }] } },
  'removed by it': { ok_response: { headers_to_remove: ['Content-Length'] } },
  'set by it in the response': { ok_response: { response_headers_to_add: [{ header: framed, append: false }, { header: framed }] } },
};

for (const [what, answer] of Object.entries(answers))
  test(`a length ${what} stays what it was`, async () => {
    await using authz = await grpcAuthz();
    await using rig = await startAuthz(GRPC, authz.port);
    const client = await RawClient.open(rig.port);
    client.send(post(JSON.stringify(answer)));
    const response = await client.response();
    assert.deepEqual([response.status, response.body, response.headers.get('content-length')], [200, '/p', '2']);
    assert.match(rig.web.received.join(''), /^POST \/p [\s\S]*content-length: 27\r\n/i);
    assert.equal(/^transfer-encoding:/im.test(rig.web.received.join('')), false);
    client.close();
  });

test('a header called as what every object has is told as it came', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz(GRPC, authz.port);
  const client = await RawClient.open(rig.port);
  client.send('GET / HTTP/1.1\r\nhost: a\r\nconstructor: mine\r\n\r\n');
  assert.equal((await client.response()).status, 200);
  assert.equal(authz.asked[0]?.attributes?.request?.http?.headers?.['constructor'], 'mine');
  client.close();
});

test('a denial has the length of its own body', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz(GRPC, authz.port);
  const client = await RawClient.open(rig.port);
  const denied = { status: { code: 7 }, denied_response: { body: 'HTTP/1.1 200 OK', headers: [{ header: framed }] } };
  client.send(`GET / HTTP/1.1\r\nhost: a\r\nx-answer: ${JSON.stringify(denied)}\r\n\r\n`);
  const response = await client.response();
  assert.deepEqual([response.status, response.headers.get('content-length')], [403, '15']);
  client.close();
});

test('a server asked over HTTP whose every header may pass does not pass its length', async () => {
  const all = { patterns: [{ safe_regex: { regex: '.*' } }] };
  await using authz = await httpAuthz();
  await using rig = await startAuthz(
    {
      allowed_headers: { patterns: [{ exact: 'x-answer' }] },
      http_service: { ...OVER_HTTP, authorization_response: { allowed_upstream_headers: all, allowed_client_headers_on_success: all } },
    },
    authz.port,
  );
  const client = await RawClient.open(rig.port);
  client.send(post('HTTP/1.1 200 OK|content-length: 0|x-who: me||'));
  const response = await client.response();
  assert.deepEqual([response.status, response.body, response.headers.get('x-who')], [200, '/p', 'me']);
  assert.match(rig.web.received.join(''), /^POST \/p [\s\S]*content-length: 27\r\n/i);
  client.close();
});
