// What a mirror's policy makes of the copy: its host and its headers. The request itself stays as it is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';

test('a mirror gets the request as its policy shapes it', async () => {
  const heads: string[] = [];
  await using backend = await httpBackend(() => 'ok');
  await using mirror = await httpBackend((_, head) => {
    heads.push(head);
    return 'ok';
  });
  await using plane = await startPlane({
    clusters: [staticCluster('c', [backend.port]), staticCluster('m', [mirror.port])],
    listeners: [
      listener(
        'l',
        hcm([
          toCluster('c', {
            request_mirror_policies: [
              {
                cluster: 'm',
                host_rewrite_literal: 'copy.test',
                request_headers_mutations: [{ append: { header: { key: 'x-copy', value: '%REQ(x-in)%' } } }, { remove: 'x-secret' }],
              },
            ],
          }),
        ]),
      ),
    ],
  });
  const client = await RawClient.open(plane.port('l'));
  await client.send('GET / HTTP/1.1\r\nhost: x.test\r\nx-in: 7\r\nx-secret: s\r\n\r\n').response();
  client.close();
  await eventually(() => heads.length === 1, 'copied');
  assert.match(heads[0] ?? '', /host: copy\.test/i);
  assert.match(heads[0] ?? '', /x-copy: 7/i);
  assert.doesNotMatch(heads[0] ?? '', /x-secret/i);
  assert.match(backend.received[0] ?? '', /x-secret: s/i);
});
