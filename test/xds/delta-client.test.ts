// The client's machine of incremental xDS against the server's: what is asked, what is kept over streams, what is said of names that lead nowhere.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decode, encode } from '../../src/xds/codec.ts';
import { contentOf, type EncodedResource } from '../../src/xds/content.ts';
import { DeltaClient } from '../../src/xds/delta-client.ts';
import { DeltaServer } from '../../src/xds/delta-server.ts';
import type { ReceivedResponse, ResourceProblem } from '../../src/xds/discovery-client.ts';
import type { DeltaDiscoveryRequest } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, ROUTE_TYPE } from '../../src/xds/resource-types.ts';
import { SharedWork } from '../../src/xds/shared-work.ts';

const cluster = (name: string, version: string): EncodedResource => ({
  name,
  version,
  bytes: encode('envoy.config.cluster.v3.Cluster', { name, alt_stat_name: version }),
});

const rig = () => {
  let given = contentOf(new Map());
  let problems: readonly ResourceProblem[] = [];
  const requests: DeltaDiscoveryRequest[] = [];
  const responses: ReceivedResponse[] = [];
  const client = new DeltaClient({
    node: () => ({ id: 'me' }),
    apply: (response) => {
      responses.push(response);
      return problems;
    },
  });
  const shared = new SharedWork();
  const connect = (): DeltaServer => {
    const server = new DeltaServer({ send: (pieces) => client.received(Buffer.concat(pieces)), content: () => given, shared });
    client.opened((bytes) => {
      const request = decode('envoy.service.discovery.v3.DeltaDiscoveryRequest', bytes);
      requests.push(request);
      server.request(request);
    });
    return server;
  };
  return {
    client,
    requests,
    responses,
    connect,
    give: (...resources: EncodedResource[]) => {
      given = contentOf(new Map(resources.map((r) => [r.name, r])));
    },
    refuse: (...of: ResourceProblem[]) => {
      problems = of;
    },
    last: () => responses.at(-1),
  };
};

const namesOf = (response: ReceivedResponse | undefined): string[] => (response?.resources ?? []).map((r) => r.name);

describe('the delta client', () => {
  test('everything is asked for once, and only what changes comes', () => {
    const r = rig();
    r.give(cluster('a', '1'), cluster('b', '1'));
    r.client.subscribe(CLUSTER_TYPE, '*');
    const server = r.connect();
    server.refresh();
    assert.deepEqual(namesOf(r.last()), ['a', 'b']);
    assert.deepEqual(r.requests[0]?.resource_names_subscribe, ['*']);
    assert.equal(r.requests[0]?.node?.id, 'me');
    assert.equal(r.requests[1]?.node, undefined, 'the node is said once');
    r.give(cluster('a', '2'));
    server.refresh();
    assert.deepEqual([namesOf(r.last()), r.last()?.removed], [['a'], ['b']]);
    assert.equal(server.status(CLUSTER_TYPE.url).state, 'SYNCED');
    assert.equal(r.last()?.resources[0]?.version, '2');
  });

  test('a new stream begins with the versions of what is there, so nothing comes twice', () => {
    const r = rig();
    r.give(cluster('a', '1'), cluster('b', '1'));
    r.client.subscribe(CLUSTER_TYPE, '*');
    r.connect().refresh();
    r.client.closed();
    r.give(cluster('a', '1'), cluster('c', '1'));
    const server = r.connect();
    assert.deepEqual(r.requests.at(-1)?.initial_resource_versions, { a: '1', b: '1' });
    server.refresh();
    assert.deepEqual([namesOf(r.last()), r.last()?.removed], [['c'], ['b']]);
  });

  test('names are added and let go one by one; a name that leads nowhere is said to be gone', () => {
    const r = rig();
    r.give(cluster('a', '1'));
    const server = r.connect();
    r.client.subscribe(ENDPOINT_TYPE, new Set());
    assert.equal(r.requests.length, 0, 'an empty first request would ask for everything');
    r.client.subscribe(ROUTE_TYPE, new Set(['a', 'x']));
    server.refresh();
    assert.deepEqual([namesOf(r.last()), r.last()?.removed], [['a'], ['x']]);
    r.client.subscribe(ROUTE_TYPE, new Set(['a', 'y']));
    assert.deepEqual([r.requests.at(-1)?.resource_names_subscribe, r.requests.at(-1)?.resource_names_unsubscribe], [['y'], ['x']]);
  });

  test('a name beside everything is asked for beside it', () => {
    const r = rig();
    const server = r.connect();
    r.client.subscribe(CLUSTER_TYPE, '*');
    r.client.subscribe(CLUSTER_TYPE, '*', new Set(['lazy']));
    assert.deepEqual(r.requests.at(-1)?.resource_names_subscribe, ['lazy']);
    assert.deepEqual([...server.askedNames(CLUSTER_TYPE.url)], ['lazy']);
    r.client.subscribe(CLUSTER_TYPE, '*');
    assert.deepEqual(r.requests.at(-1)?.resource_names_unsubscribe, ['lazy']);
  });

  test('a refusal is said with its text, and the refused version is not claimed later', () => {
    const r = rig();
    r.give(cluster('a', '1'));
    r.client.subscribe(CLUSTER_TYPE, '*');
    const server = r.connect();
    server.refresh();
    r.refuse({ name: 'a', problem: 'is bad' });
    r.give(cluster('a', '2'), cluster('b', '1'));
    server.refresh();
    const { state, nack } = server.status(CLUSTER_TYPE.url);
    assert.deepEqual([state, nack?.message], ['NACK', 'a: is bad']);
    r.client.closed();
    r.connect();
    assert.deepEqual(r.requests.at(-1)?.initial_resource_versions, { a: '1', b: '1' });
  });
});
