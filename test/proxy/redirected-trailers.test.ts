// Trailers of a request that a redirect leads elsewhere: as with a stock Envoy they end with the first attempt, though its body goes along.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hcm, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { exchange, HTTP2_CLUSTER, http2Backend, openSession } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const HTTP2_HCM = { codec_type: 'HTTP2' as const };
const stage = (port: number) => ({
  clusters: [staticCluster('c', [port], HTTP2_CLUSTER)],
  listeners: [listener('l', hcm([toCluster('c', { internal_redirect_policy: {} })], HTTP2_HCM))],
});

/** What the server saw: each request's body and trailers. */
const play = async (start: (resources: ReturnType<typeof stage>) => Promise<AsyncDisposable & { port(listener: string): number }>) => {
  const seen: string[] = [];
  await using backend = await http2Backend((stream, headers) => {
    let body = '';
    let trailer = 'none';
    stream.on('data', (piece: Buffer) => {
      body += String(piece);
    });
    stream.on('trailers', (fields) => {
      trailer = String(fields['x-sum']);
    });
    stream.on('end', () => {
      seen.push(`${headers[':path']} ${body} ${trailer}`);
      const leads = headers[':path'] === '/a';
      stream.respond(leads ? { ':status': 302, location: 'http://b.test/b' } : { ':status': 200 });
      stream.end();
    });
  });
  await using proxy = await start(stage(backend.port));
  const session = await openSession(proxy.port('l'));
  try {
    for (const path of ['/a', '/b']) {
      const answer = await exchange(session, { ':method': 'POST', ':path': path, ':authority': 'x.test' }, 'hello', { 'x-sum': '7' });
      seen.push(String(answer.status));
    }
  } finally {
    session.destroy();
  }
  return seen;
};

const EXPECTED = ['/a hello 7', '/b hello none', '200', '/b hello 7', '200'];

test('behind a redirect that is followed here a request has its body and no trailers', async () => {
  assert.deepEqual(await play(startPlane), EXPECTED);
});

test('a stock Envoy leaves the trailers out as well', { skip: NO_ENVOY }, async () => {
  assert.deepEqual(await play(startEnvoy), EXPECTED);
});
