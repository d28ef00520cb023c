// The two state-of-the-world machines against each other: by hand for what each rule promises, at random for
// convergence.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decode, encode } from '../../src/xds/codec.ts';
import { type Content, type EncodedResource, hashVersions } from '../../src/xds/content.ts';
import type { Subscription } from '../../src/xds/discovery-client.ts';
import { readResponse, writeResponse } from '../../src/xds/envelope.ts';
import type { DiscoveryRequest } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, type ResourceType, ROUTE_TYPE, resourceType } from '../../src/xds/resource-types.ts';
import { SotwClient } from '../../src/xds/sotw-client.ts';
import { SotwServer } from '../../src/xds/sotw-server.ts';

/** A resource whose content is `revision`; `bad-…` is refused by the test's client. */
const makeResource = (type: ResourceType, name: string, revision: string): EncodedResource => {
  const bytes =
    type === CLUSTER_TYPE
      ? encode('envoy.config.cluster.v3.Cluster', { name, alt_stat_name: revision })
      : type === ENDPOINT_TYPE
        ? encode('envoy.config.endpoint.v3.ClusterLoadAssignment', { cluster_name: name, named_endpoints: { [revision]: {} } })
        : type === LISTENER_TYPE
          ? encode('envoy.config.listener.v3.Listener', { name, stat_prefix: revision })
          : encode('envoy.config.route.v3.RouteConfiguration', { name, internal_only_headers: [revision] });
  return { name, version: revision, bytes };
};

const contentOf = (type: ResourceType, revisions: { readonly [name: string]: string }): Content => {
  const resources = new Map(Object.entries(revisions).map(([name, rev]) => [name, makeResource(type, name, rev)]));
  return { version: hashVersions(resources.values()), resources };
};

/** A client and a server with queues between them that deliver only when told to. */
class Rig {
  readonly content = new Map<string, Content>();
  /** Type → name → bytes as text: what the client holds. */
  readonly held = new Map<string, Map<string, string>>();
  readonly responses: { url: string; version: string; names: string[] }[] = [];
  readonly client: SotwClient;
  server: SotwServer | undefined;
  toServer: Uint8Array[] = [];
  toClient: Uint8Array[] = [];
  readonly requests: DiscoveryRequest[] = [];

  constructor() {
    this.client = new SotwClient({
      node: () => ({ id: 'n1', cluster: 'c' }),
      apply: ({ type, resources }) => {
        const into = this.held.get(type.url) ?? new Map<string, string>();
        this.held.set(type.url, into);
        const problems = [];
        const named = new Set<string>();
        for (const r of resources) {
          named.add(r.name);
          const text = JSON.stringify(r.decode());
          if (text.includes('bad-')) problems.push({ name: r.name, problem: 'field: is bad' });
          else into.set(r.name, text);
        }
        if (type.absenceRemoves) for (const name of into.keys()) if (!named.has(name)) into.delete(name);
        return problems;
      },
    });
  }

  connect(): void {
    this.toServer = [];
    this.toClient = [];
    this.server = new SotwServer({
      send: (bytes) => {
        const r = readResponse(bytes);
        this.responses.push({ url: r.typeUrl, version: r.versionInfo, names: r.resources.map((x) => x.name) });
        this.toClient.push(bytes);
      },
      content: (url) => this.content.get(url),
      controlPlane: 'test',
    });
    this.client.opened((bytes) => void this.toServer.push(bytes));
  }

  disconnect(): void {
    this.client.closed();
    this.server = undefined;
    this.toServer = [];
    this.toClient = [];
  }

  stepServer(): boolean {
    const bytes = this.toServer.shift();
    if (!bytes || !this.server) return false;
    this.requests.push(decode('envoy.service.discovery.v3.DiscoveryRequest', bytes));
    this.server.received(bytes);
    return true;
  }

  stepClient(): boolean {
    const bytes = this.toClient.shift();
    if (!bytes) return false;
    this.client.received(bytes);
    return true;
  }

  settle(): void {
    for (let i = 0; i < 10_000; i++) {
      const a = this.stepServer();
      const b = this.stepClient();
      if (!a && !b) return;
    }
    assert.fail('the machines never come to rest');
  }

  set(type: ResourceType, revisions: { readonly [name: string]: string }): void {
    this.content.set(type.url, contentOf(type, revisions));
  }

  names(type: ResourceType): string[] {
    return [...(this.held.get(type.url)?.keys() ?? [])].sort();
  }
}

describe('state-of-the-world streams', () => {
  test('a wildcard subscription is answered, acknowledged, and not answered again without a change', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, { a: '1', b: '1' });
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.connect();
    rig.settle();
    assert.deepEqual(rig.names(CLUSTER_TYPE), ['a', 'b']);
    assert.equal(rig.responses.length, 1);
    assert.equal(rig.server?.status(CLUSTER_TYPE.url).state, 'SYNCED');
    assert.deepEqual(rig.requests[0]?.node, { id: 'n1', cluster: 'c' });
    assert.equal(rig.requests[1]?.node, undefined, 'the node goes with the first request only');
    rig.server?.refresh();
    rig.settle();
    assert.equal(rig.responses.length, 1);
  });

  test('an empty set is told as such', () => {
    const rig = new Rig();
    rig.set(LISTENER_TYPE, {});
    rig.client.subscribe(LISTENER_TYPE, '*');
    rig.connect();
    rig.settle();
    assert.deepEqual(
      rig.responses.map((r) => r.names),
      [[]],
    );
  });

  test('content that is not known yet is not answered until it is', () => {
    const rig = new Rig();
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.connect();
    rig.settle();
    assert.equal(rig.responses.length, 0);
    assert.equal(rig.server?.status(CLUSTER_TYPE.url).state, 'NOT SENT');
    rig.set(CLUSTER_TYPE, { a: '1' });
    rig.server?.refresh();
    rig.settle();
    assert.deepEqual(rig.names(CLUSTER_TYPE), ['a']);
  });

  test('named types get only what changed, and a name asked for anew', () => {
    const rig = new Rig();
    rig.set(ENDPOINT_TYPE, { a: '1', b: '1', c: '1' });
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a', 'b']));
    rig.connect();
    rig.settle();
    rig.set(ENDPOINT_TYPE, { a: '1', b: '2', c: '2' });
    rig.server?.refresh();
    rig.settle();
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a', 'b', 'c']));
    rig.settle();
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['b', 'c']));
    rig.settle();
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a', 'b', 'c']));
    rig.settle();
    assert.deepEqual(
      rig.responses.map((r) => r.names),
      [['a', 'b'], ['b'], ['c'], ['a']],
    );
  });

  test('a named subscription that becomes empty asks for nothing, not for everything', () => {
    const rig = new Rig();
    rig.set(ROUTE_TYPE, { a: '1' });
    rig.client.subscribe(ROUTE_TYPE, new Set());
    rig.connect();
    rig.settle();
    assert.equal(rig.requests.length, 0);
    rig.client.subscribe(ROUTE_TYPE, new Set(['a']));
    rig.settle();
    rig.client.subscribe(ROUTE_TYPE, new Set());
    rig.settle();
    rig.set(ROUTE_TYPE, { a: '2' });
    rig.server?.refresh();
    rig.settle();
    assert.equal(rig.responses.length, 1);
  });

  test('a refused response names every bad resource, keeps the last good version and is not sent again', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, { a: '1' });
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.connect();
    rig.settle();
    const good = rig.client.acceptedVersion(CLUSTER_TYPE);
    rig.set(CLUSTER_TYPE, { a: 'bad-1', b: 'bad-2', c: '1' });
    rig.server?.refresh();
    rig.settle();
    assert.equal(rig.client.acceptedVersion(CLUSTER_TYPE), good);
    assert.deepEqual(rig.names(CLUSTER_TYPE), ['a', 'c'], 'the good resource of the response is taken');
    const status = rig.server?.status(CLUSTER_TYPE.url);
    assert.equal(status?.state, 'NACK');
    assert.equal(status?.nack?.message, 'a: field: is bad\nb: field: is bad');
    assert.equal(status?.ackedVersion, good);
    rig.server?.refresh();
    rig.settle();
    assert.equal(rig.responses.length, 2);
    rig.set(CLUSTER_TYPE, { a: '1' });
    rig.server?.refresh();
    rig.settle();
    assert.equal(rig.server?.status(CLUSTER_TYPE.url).state, 'SYNCED');
  });

  test('names given twice and foreign types are refused by name', () => {
    const rig = new Rig();
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.client.opened((bytes) => void rig.requests.push(decode('envoy.service.discovery.v3.DiscoveryRequest', bytes)));
    const cluster = encode('envoy.config.cluster.v3.Cluster', { name: 'a' });
    rig.client.received(writeResponse({ typeUrl: CLUSTER_TYPE.url, versionInfo: '1', nonce: 'n', resources: [cluster, cluster] }));
    assert.equal(rig.requests.at(-1)?.error_detail?.message, 'a: is given twice');
    assert.equal(rig.requests.at(-1)?.response_nonce, 'n');
    assert.equal(rig.requests.at(-1)?.version_info, undefined);
  });

  test('a client that comes back with the right version is sent nothing', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, { a: '1' });
    rig.set(ENDPOINT_TYPE, { a: '1' });
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a']));
    rig.connect();
    rig.settle();
    const before = rig.responses.length;
    rig.disconnect();
    rig.connect();
    rig.settle();
    assert.equal(rig.responses.length, before);
    assert.equal(rig.server?.status(CLUSTER_TYPE.url).state, 'SYNCED');
    rig.disconnect();
    rig.set(CLUSTER_TYPE, { a: '2' });
    rig.connect();
    rig.settle();
    assert.deepEqual(
      rig.responses.slice(before).map((r) => resourceType(r.url)?.shortName),
      ['CDS', 'EDS'],
    );
  });

  test('that holds as well when it is known only later what the client is to have', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, { a: '1' });
    rig.set(ENDPOINT_TYPE, { a: '1' });
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a']));
    rig.connect();
    rig.settle();
    const before = rig.responses.length;
    const held = new Map(rig.content);
    for (const clusters of ['1', '2']) {
      rig.disconnect();
      rig.content.clear();
      rig.connect();
      rig.settle();
      assert.equal(rig.responses.length, before);
      for (const [url, content] of held) rig.content.set(url, content);
      if (clusters !== '1') rig.set(CLUSTER_TYPE, { a: clusters });
      rig.server?.refresh();
      rig.settle();
      assert.deepEqual(
        rig.responses.slice(before).map((r) => resourceType(r.url)?.shortName),
        clusters === '1' ? [] : ['CDS', 'EDS'],
      );
    }
  });

  test('clusters are removed only after the routes that named them have been answered for', () => {
    const rig = new Rig();
    for (const type of [CLUSTER_TYPE, LISTENER_TYPE]) rig.client.subscribe(type, '*');
    rig.client.subscribe(ROUTE_TYPE, new Set(['r']));
    rig.set(CLUSTER_TYPE, { old: '1' });
    rig.set(LISTENER_TYPE, { l: '1' });
    rig.set(ROUTE_TYPE, { r: 'to-old' });
    rig.connect();
    rig.settle();
    rig.responses.length = 0;
    rig.set(CLUSTER_TYPE, { new: '1' });
    rig.set(ROUTE_TYPE, { r: 'to-new' });
    rig.server?.refresh();
    rig.settle();
    assert.deepEqual(
      rig.responses.map((r) => [resourceType(r.url)?.shortName, [...r.names].sort()]),
      [
        ['CDS', ['new', 'old']],
        ['RDS', ['r']],
        ['CDS', ['new']],
      ],
    );
    assert.deepEqual(rig.names(CLUSTER_TYPE), ['new']);
  });

  test('endpoints follow a changed cluster even when they are the same', () => {
    const rig = new Rig();
    rig.client.subscribe(CLUSTER_TYPE, '*');
    rig.client.subscribe(ENDPOINT_TYPE, new Set(['a', 'b']));
    rig.set(CLUSTER_TYPE, { a: '1', b: '1' });
    rig.set(ENDPOINT_TYPE, { a: '1', b: '1' });
    rig.connect();
    rig.settle();
    rig.responses.length = 0;
    rig.set(CLUSTER_TYPE, { a: '2', b: '1' });
    rig.server?.refresh();
    rig.settle();
    assert.deepEqual(
      rig.responses.map((r) => r.names),
      [['a', 'b'], ['a']],
    );
  });

  test('unknown fields are counted, malformed resources refused, malformed envelopes thrown', () => {
    const rig = new Rig();
    rig.client.subscribe(CLUSTER_TYPE, '*');
    const answers: DiscoveryRequest[] = [];
    rig.client.opened((bytes) => void answers.push(decode('envoy.service.discovery.v3.DiscoveryRequest', bytes)));
    const withUnknown = new Uint8Array([...encode('envoy.config.cluster.v3.Cluster', { name: 'a' }), 0xfa, 0xff, 0x01, 0x01, 0x78]);
    rig.client.received(writeResponse({ typeUrl: CLUSTER_TYPE.url, versionInfo: '1', nonce: '1', resources: [withUnknown] }));
    assert.equal(answers.at(-1)?.error_detail, undefined);
    assert.equal(rig.client.counters(CLUSTER_TYPE).unknownFields, 1);
    assert.throws(() => rig.client.received(new Uint8Array([0x0a, 0x7f])), /DiscoveryResponse/);
  });

  test('any schedule converges, sends nothing twice and keeps the last good', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd');
    const revision = fc.constantFrom('1', '2', '3', 'bad-1');
    const type = fc.constantFrom(CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE);
    const step = fc.oneof(
      fc.record({ do: fc.constant('content' as const), type, revisions: fc.dictionary(name, revision) }),
      fc.record({ do: fc.constant('subscribe' as const), type, names: fc.uniqueArray(name) }),
      fc.record({ do: fc.constantFrom('server' as const, 'client' as const, 'reconnect' as const, 'refresh' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const rig = new Rig();
        for (const t of [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE]) rig.set(t, { a: '1' });
        rig.client.subscribe(CLUSTER_TYPE, '*');
        rig.client.subscribe(LISTENER_TYPE, '*');
        rig.connect();
        for (const s of steps) {
          if (s.do === 'content') rig.set(s.type, s.revisions);
          else if (s.do === 'subscribe' && !s.type.wildcard) rig.client.subscribe(s.type, new Set(s.names));
          else if (s.do === 'server') rig.stepServer();
          else if (s.do === 'client') rig.stepClient();
          else if (s.do === 'reconnect') {
            rig.disconnect();
            rig.connect();
          } else if (s.do === 'refresh') rig.server?.refresh();
        }
        rig.server?.refresh();
        rig.settle();
        checkConverged(rig);
        const sent = rig.responses.length;
        rig.server?.refresh();
        rig.settle();
        assert.equal(rig.responses.length, sent, 'nothing is pushed without a change');
      }),
      { numRuns: 300 },
    );
  });
});

const checkConverged = (rig: Rig): void => {
  for (const type of [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE]) {
    const names: Subscription | undefined = rig.client.subscription(type);
    const content = rig.content.get(type.url);
    for (const r of content?.resources.values() ?? []) {
      if (!names || (names !== '*' && !names.has(r.name))) continue;
      const have = rig.held.get(type.url)?.get(r.name);
      if (r.version.startsWith('bad-')) assert.ok(!have?.includes('bad-'), `${r.name} was refused`);
      else assert.equal(have, JSON.stringify(decode(type.type, r.bytes)), `${type.shortName} ${r.name}`);
    }
    if (type.absenceRemoves) for (const held of rig.names(type)) assert.ok(content?.resources.has(held), `${held} is gone`);
    const version = rig.server?.status(type.url);
    const bad = [...(content?.resources.values() ?? [])].some((r) => r.version.startsWith('bad-'));
    if (!bad && version && version.state !== 'NOT SENT') assert.equal(version.state, 'SYNCED', type.shortName);
  }
};
