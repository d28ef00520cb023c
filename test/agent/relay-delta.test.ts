// The agent's own types on an incremental stream of the proxy: names and the agent's configuration are asked for beside the proxy's types,
// kept, acknowledged, and hidden from it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adsRelay } from '../../src/agent/ads-relay.ts';
import { createLog } from '../../src/base/log.ts';
import { decode, encode, encodeNamed } from '../../src/xds/codec.ts';
import { contentOf, type EncodedResource } from '../../src/xds/content.ts';
import { DeltaServer } from '../../src/xds/delta-server.ts';
import type { NameTable } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, DELTA_ADS_METHOD, NAME_TABLE_TYPE } from '../../src/xds/resource-types.ts';
import { SharedWork } from '../../src/xds/shared-work.ts';

const named = (version: string, names: readonly string[]): EncodedResource => ({
  name: '',
  version,
  bytes: encodeNamed(NAME_TABLE_TYPE.type, { table: Object.fromEntries(names.map((n) => [n, { ips: ['240.0.0.1'] }])) }),
});

const rig = () => {
  const tables: NameTable[] = [];
  const servers: DeltaServer[] = [];
  let names = named('1', ['a']);
  const relay = adsRelay({
    upstream: {
      open: (_method, events) => {
        const server = new DeltaServer({
          send: (pieces) => events.message(Buffer.concat(pieces)),
          content: (url) => contentOf(new Map(url === NAME_TABLE_TYPE.url ? [['', names]] : [])),
          shared: new SharedWork(),
        });
        servers.push(server);
        const send = (bytes: Uint8Array): void => {
          server.request(decode('envoy.service.discovery.v3.DeltaDiscoveryRequest', bytes));
          server.refresh();
        };
        return { send, close: () => {} };
      },
    },
    node: { id: 'agent' },
    onNameTable: (table) => tables.push(table),
    log: createLog(
      't',
      () => {},
      () => new Date(0),
    ),
  });
  const open = (): string[] => {
    const heard: string[] = [];
    const stream = relay.open(DELTA_ADS_METHOD, {
      message: (bytes) => heard.push(decode('envoy.service.discovery.v3.DeltaDiscoveryResponse', bytes).type_url ?? ''),
      end: () => {},
    });
    stream.send(
      encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', { type_url: CLUSTER_TYPE.url, resource_names_subscribe: ['*'] }),
    );
    return heard;
  };
  return {
    tables,
    servers,
    open,
    name: (table: EncodedResource) => {
      names = table;
    },
  };
};

test('names come on the proxy’s incremental stream, are acknowledged, and stay with the agent', () => {
  const r = rig();
  const heard = r.open();
  assert.deepEqual(heard, [CLUSTER_TYPE.url]);
  assert.deepEqual(Object.keys(r.tables[0]?.table ?? {}), ['a']);
  const [server] = r.servers;
  assert.equal(server?.status(NAME_TABLE_TYPE.url).state, 'SYNCED');
  r.name(named('2', ['a', 'b']));
  server?.refresh();
  assert.deepEqual(Object.keys(r.tables[1]?.table ?? {}), ['a', 'b']);
  assert.equal(server?.status(NAME_TABLE_TYPE.url).state, 'SYNCED');
  assert.deepEqual(heard, [CLUSTER_TYPE.url]);
});

test('a new stream takes up the names where they were', () => {
  const r = rig();
  r.open();
  r.open();
  assert.equal(r.tables.length, 1, 'nothing comes twice');
  r.name(named('2', ['b']));
  r.servers[1]?.refresh();
  assert.equal(r.tables.length, 2);
});
