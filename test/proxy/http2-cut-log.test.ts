// What is logged of an HTTP/2 exchange that does not end well: the headers of both sides are still there.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { eventually, hcm, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend, openSession } from './http2-peers.ts';

const TUNNELS = { upgrade_configs: [{ upgrade_type: 'websocket' }], http2_protocol_options: { allow_connect: true } };

const front = async (port: number) => {
  const logged: { readonly request: string | undefined; readonly response: string | undefined }[] = [];
  const plane = await startPlane(
    {
      clusters: [staticCluster('app', [port], HTTP2_CLUSTER)],
      listeners: [listener('in', hcm([toCluster('app')], TUNNELS))],
    },
    {
      observer: {
        ...silentObserver,
        httpDone: (_info, request, response) => logged.push({ request: request?.get('x-asked'), response: response?.get('x-said') }),
      },
    },
  );
  return { plane, logged };
};

const ASK = 'x-asked: yes\r\n';
const BOTH = [{ request: 'yes', response: 'yes' }];

suite('the log of an exchange over HTTP/2 that is cut', () => {
  test('has the headers when the upstream resets it', { timeout: 120_000 }, async () => {
    await using backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'x-said': 'yes' });
      stream.write('some', () => setTimeout(() => stream.destroy(new Error('broken')), 20));
    });
    const { plane, logged } = await front(backend.port);
    await using _ = plane;
    const client = await RawClient.open(plane.port('in'));
    client.send(`GET / HTTP/1.1\r\nhost: a.test\r\n${ASK}\r\n`);
    await eventually(() => logged.length === 1, 'it is logged');
    client.close();
    assert.deepEqual(logged, BOTH);
  });

  test('has the headers when the client leaves', { timeout: 120_000 }, async () => {
    await using backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'x-said': 'yes' });
      stream.write('some');
    });
    const { plane, logged } = await front(backend.port);
    await using _ = plane;
    const client = await RawClient.open(plane.port('in'));
    client.send(`GET / HTTP/1.1\r\nhost: a.test\r\n${ASK}\r\n`);
    await client.bytes(20);
    client.close();
    await eventually(() => logged.length === 1, 'it is logged');
    assert.deepEqual(logged, BOTH);
  });

  test('has the headers when the answer comes before the end of the request', { timeout: 120_000 }, async () => {
    await using backend = await http2Backend((stream) => {
      stream.respond({ ':status': 413, 'x-said': 'yes' }, { endStream: true });
    });
    const { plane, logged } = await front(backend.port);
    await using _ = plane;
    const client = await RawClient.open(plane.port('in'));
    client.send(`POST / HTTP/1.1\r\nhost: a.test\r\n${ASK}content-length: 9\r\n\r\nabc`);
    await eventually(() => logged.length === 1, 'it is logged');
    client.close();
    assert.deepEqual(logged, BOTH);
  });

  test('has the headers when it was a tunnel', { timeout: 120_000 }, async () => {
    await using backend = await http2Backend(
      (stream) => {
        stream.respond({ ':status': 200, 'x-said': 'yes' });
        stream.on('data', () => stream.end());
      },
      { enableConnectProtocol: true },
    );
    const { plane, logged } = await front(backend.port);
    await using _ = plane;
    const session = await openSession(plane.port('in'));
    const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/', 'x-asked': 'yes' });
    stream.on('error', () => {});
    stream.on('response', () => stream.end('bytes'));
    stream.resume();
    await eventually(() => logged.length === 1, 'it is logged');
    session.destroy();
    assert.deepEqual(logged, BOTH);
  });
});
