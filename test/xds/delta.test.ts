// The incremental server machine against a client of a few lines: by hand for what each rule promises, at random for convergence.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decode, encode } from '../../src/xds/codec.ts';
import { type Content, contentOf, type EncodedResource, layered } from '../../src/xds/content.ts';
import { DeltaServer } from '../../src/xds/delta-server.ts';
import type { DeltaDiscoveryRequest } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceType, ROUTE_TYPE } from '../../src/xds/resource-types.ts';
import { SharedWork } from '../../src/xds/shared-work.ts';

const resource = (type: ResourceType, name: string, revision: string): EncodedResource => {
  const bytes =
    type === CLUSTER_TYPE
      ? encode('envoy.config.cluster.v3.Cluster', { name, alt_stat_name: revision })
      : type === ENDPOINT_TYPE
        ? encode('envoy.config.endpoint.v3.ClusterLoadAssignment', { cluster_name: name, named_endpoints: { [revision]: {} } })
        : encode('envoy.config.route.v3.RouteConfiguration', { name, internal_only_headers: [revision] });
  return { name, version: revision, bytes, endpointsName: type === CLUSTER_TYPE ? name : undefined };
};

const content = (type: ResourceType, revisions: { readonly [name: string]: string }): Content =>
  contentOf(new Map(Object.entries(revisions).map(([name, revision]) => [name, resource(type, name, revision)])));

interface Seen {
  readonly url: string;
  readonly version: string;
  readonly nonce: string;
  readonly sent: Readonly<Record<string, string>>;
  readonly removed: readonly string[];
}

class Rig {
  readonly contents = new Map<string, Content>();
  readonly seen: Seen[] = [];
  /** By type: what the client holds, as name → version. */
  readonly held = new Map<string, Map<string, string>>();
  readonly shared: SharedWork;
  readonly server: DeltaServer;
  writable = true;

  constructor(shared = new SharedWork()) {
    this.shared = shared;
    this.server = new DeltaServer({
      shared,
      content: (url) => this.contents.get(url),
      writable: () => this.writable,
      controlPlane: 'test',
      send: (pieces) => this.#receive(Buffer.concat(pieces)),
    });
  }

  request(type: ResourceType, request: DeltaDiscoveryRequest = {}): string {
    const { kind } = this.server.request({ type_url: type.url, ...request });
    this.server.refresh();
    return kind;
  }

  set(type: ResourceType, next: Content): void {
    this.contents.set(type.url, next);
    this.server.refresh();
  }

  get last(): Seen {
    const last = this.seen.at(-1);
    assert.ok(last, 'nothing was sent');
    return last;
  }

  ack(type: ResourceType, nonce = this.last.nonce): string {
    return this.request(type, { response_nonce: nonce });
  }

  #receive(bytes: Buffer): void {
    const r = decode('envoy.service.discovery.v3.DeltaDiscoveryResponse', bytes);
    const url = r.type_url ?? '';
    const held = this.held.get(url) ?? new Map<string, string>();
    this.held.set(url, held);
    const sent: Record<string, string> = {};
    for (const one of r.resources ?? []) {
      sent[one.name ?? ''] = one.version ?? '';
      held.set(one.name ?? '', one.version ?? '');
    }
    for (const name of r.removed_resources ?? []) held.delete(name);
    assert.equal(r.control_plane?.identifier, 'test');
    this.seen.push({ url, version: r.system_version_info ?? '', nonce: r.nonce ?? '', sent, removed: r.removed_resources ?? [] });
  }
}

test('a name that is let go before it was answered is owed no answer', () => {
  const rig = new Rig();
  rig.contents.set(ROUTE_TYPE.url, content(ROUTE_TYPE, { a: '1' }));
  rig.request(ROUTE_TYPE, { resource_names_subscribe: ['a'] });
  rig.writable = false;
  rig.request(ROUTE_TYPE, { resource_names_subscribe: ['b', 'c'] });
  rig.request(ROUTE_TYPE, { resource_names_unsubscribe: ['b'] });
  rig.writable = true;
  rig.server.refresh();
  assert.deepEqual(rig.seen.at(-1)?.removed, ['c']);
});

test('the bytes of names come and go with the names, and of answers that are owed with the answers', () => {
  const rig = new Rig();
  const many = Array.from({ length: 1000 }, (_, i) => `name-${i}`);
  rig.request(ROUTE_TYPE, { resource_names_subscribe: many });
  const held = rig.server.heldBytes;
  assert.ok(held > 64_000, `${held}`);
  for (let round = 0; round < 3; round++) {
    rig.request(ROUTE_TYPE, { resource_names_subscribe: ['fresh'] });
    rig.request(ROUTE_TYPE, { resource_names_unsubscribe: ['fresh'] });
  }
  assert.ok(rig.server.heldBytes > held, 'nothing was answered yet');
  rig.contents.set(ROUTE_TYPE.url, content(ROUTE_TYPE, { a: '1' }));
  rig.server.refresh();
  assert.equal(rig.server.heldBytes, held);
  rig.request(ROUTE_TYPE, { resource_names_unsubscribe: many });
  assert.equal(rig.server.heldBytes, 0);
});

test('a client that changes a long list name by name leaves no lists behind', () => {
  const shared = new SharedWork();
  const long = Array.from({ length: 19_000 }, (_, i) => `outbound|8080||service-${i}.some-namespace.svc.cluster.local`);
  const first = shared.names(long);
  assert.equal(shared.names([...long]), first);
  for (let n = 0; n < 10; n++) shared.names(long.slice(n + 1));
  assert.notEqual(shared.names([...long]), first, 'ten lists of a megabyte are not all kept');
  const longer = Array.from({ length: 30_000 }, (_, i) => `n${i}`);
  assert.notEqual(shared.names([...longer]), shared.names([...longer]));
});

describe('incremental server', () => {
  test('a wildcard client is sent everything once, then only what changed and what is gone', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1', b: '1' }));
    rig.request(CLUSTER_TYPE);
    assert.deepEqual(rig.last.sent, { a: '1', b: '1' });
    assert.equal(rig.server.status(CLUSTER_TYPE.url).state, 'STALE');
    assert.equal(rig.ack(CLUSTER_TYPE), 'ack');
    assert.equal(rig.server.status(CLUSTER_TYPE.url).state, 'SYNCED');
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '2', c: '1' }));
    assert.deepEqual([rig.last.sent, rig.last.removed], [{ a: '2', c: '1' }, ['b']]);
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '2', c: '1' }));
    assert.equal(rig.seen.length, 2);
  });

  test('nothing at all is an answer to a client that starts, and only then', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, {}));
    rig.request(CLUSTER_TYPE);
    assert.deepEqual([rig.last.sent, rig.last.removed], [{}, []]);
    rig.ack(CLUSTER_TYPE);
    assert.equal(rig.seen.length, 1);
  });

  test('named resources come by name, a name that does not exist is answered as removed', () => {
    const rig = new Rig();
    rig.set(ROUTE_TYPE, content(ROUTE_TYPE, { r1: '1', r2: '1' }));
    rig.request(ROUTE_TYPE, { resource_names_subscribe: ['r1', 'missing'] });
    assert.deepEqual([rig.last.sent, rig.last.removed], [{ r1: '1' }, ['missing']]);
    rig.set(ROUTE_TYPE, content(ROUTE_TYPE, { r1: '1', r2: '2' }));
    assert.equal(rig.seen.length, 1, 'r2 is nobody’s');
    rig.set(ROUTE_TYPE, content(ROUTE_TYPE, { r1: '1', r2: '2', missing: '1' }));
    assert.deepEqual(rig.last.sent, { missing: '1' });
    rig.request(ROUTE_TYPE, { resource_names_subscribe: ['r2'] });
    assert.deepEqual(rig.last.sent, { r2: '2' });
    rig.request(ROUTE_TYPE, { resource_names_unsubscribe: ['r2'] });
    rig.set(ROUTE_TYPE, content(ROUTE_TYPE, { r1: '1', r2: '3', missing: '1' }));
    assert.equal(rig.seen.length, 3);
  });

  test('a name that is asked for again is sent again', () => {
    const rig = new Rig();
    rig.set(ROUTE_TYPE, content(ROUTE_TYPE, { r1: '1' }));
    rig.request(ROUTE_TYPE, { resource_names_subscribe: ['r1'] });
    rig.request(ROUTE_TYPE, { resource_names_subscribe: ['r1'] });
    assert.equal(rig.seen.length, 2);
  });

  test('a client that comes back is sent only what it lacks', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1', b: '2', c: '1' }));
    rig.request(CLUSTER_TYPE, { initial_resource_versions: { a: '1', b: '1', gone: '1' } });
    assert.deepEqual([rig.last.sent, rig.last.removed], [{ b: '2', c: '1' }, ['gone']]);
    const same = new Rig();
    same.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1' }));
    same.request(CLUSTER_TYPE, { initial_resource_versions: { a: '1' } });
    assert.equal(same.seen.length, 0);
    assert.equal(same.server.status(CLUSTER_TYPE.url).state, 'SYNCED');
  });

  test('endpoints of clusters made anew are sent though the client says it has them', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '2', b: '1' }));
    rig.set(ENDPOINT_TYPE, content(ENDPOINT_TYPE, { a: '1', b: '1' }));
    rig.request(CLUSTER_TYPE, { initial_resource_versions: { a: '1', b: '1' } });
    rig.request(ENDPOINT_TYPE, { resource_names_subscribe: ['a', 'b'], initial_resource_versions: { a: '1', b: '1' } });
    assert.deepEqual(rig.last.sent, { a: '1' });
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '2', b: '2' }));
    assert.deepEqual([rig.last.url, rig.last.sent], [ENDPOINT_TYPE.url, { b: '1' }]);
  });

  test('a refusal is kept with its text and the refused version is not sent again', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: 'bad' }));
    rig.request(CLUSTER_TYPE);
    const kind = rig.request(CLUSTER_TYPE, { response_nonce: rig.last.nonce, error_detail: { code: 3, message: 'no such thing' } });
    assert.equal(kind, 'nack');
    const status = rig.server.status(CLUSTER_TYPE.url);
    assert.deepEqual([status.state, status.nack?.message], ['NACK', 'no such thing']);
    rig.server.refresh();
    assert.equal(rig.seen.length, 1);
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: 'good' }));
    assert.deepEqual(rig.last.sent, { a: 'good' });
    rig.ack(CLUSTER_TYPE);
    assert.equal(rig.server.status(CLUSTER_TYPE.url).state, 'SYNCED');
  });

  test('a nonce that was never given acknowledges nothing', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1' }));
    rig.request(CLUSTER_TYPE);
    assert.equal(rig.ack(CLUSTER_TYPE, 'bogus'), 'stale');
    assert.equal(rig.server.status(CLUSTER_TYPE.url).state, 'STALE');
  });

  test('a client on demand asks by name and turns to everything later, or back', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1', b: '1' }));
    rig.request(CLUSTER_TYPE, { resource_names_subscribe: ['a'] });
    assert.deepEqual(rig.last.sent, { a: '1' });
    rig.request(CLUSTER_TYPE, { resource_names_subscribe: ['*'] });
    assert.deepEqual(rig.last.sent, { b: '1' });
    rig.request(CLUSTER_TYPE, { resource_names_unsubscribe: ['a'] });
    assert.deepEqual(rig.last.sent, { a: '1' }, 'it still belongs to everything');
    rig.request(CLUSTER_TYPE, { resource_names_unsubscribe: ['*'] });
    const before = rig.seen.length;
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '2', b: '2' }));
    assert.equal(rig.seen.length, before, 'nothing is subscribed to');
  });

  test('a client that does not take what it was sent gets the latest later', () => {
    const rig = new Rig();
    rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: '1' }));
    rig.request(CLUSTER_TYPE);
    rig.writable = false;
    for (const revision of ['2', '3', '4']) rig.set(CLUSTER_TYPE, content(CLUSTER_TYPE, { a: revision }));
    assert.equal(rig.seen.length, 1);
    rig.writable = true;
    rig.server.refresh();
    assert.deepEqual(rig.last.sent, { a: '4' });
    assert.equal(rig.seen.length, 2);
  });

  test('what streams share is written once', () => {
    const shared = new SharedWork();
    const common = content(CLUSTER_TYPE, { a: '1', b: '1' });
    const next = content(CLUSTER_TYPE, { a: '2', b: '1' });
    const blocks: Uint8Array[][] = [];
    for (const own of ['x', 'y']) {
      let now = layered([common, content(CLUSTER_TYPE, { [own]: '1' })]);
      const pieces: Uint8Array[] = [];
      const server = new DeltaServer({ shared, content: () => now, send: (p) => pieces.push(...p) });
      server.request({ type_url: CLUSTER_TYPE.url });
      server.refresh();
      now = layered([next, content(CLUSTER_TYPE, { [own]: '1' })]);
      server.refresh();
      blocks.push(pieces);
    }
    assert.equal(blocks[0]?.length, 5, 'common, own, tail; changed, tail');
    assert.equal(blocks[0]?.[0], blocks[1]?.[0]);
    assert.equal(blocks[0]?.[3], blocks[1]?.[3]);
  });

  test('after any sequence a client that answers holds exactly what it asked for', () => {
    const names = ['a', 'b', 'c', 'd'];
    const revisions = fc.dictionary(fc.constantFrom(...names), fc.constantFrom('1', '2', '3'));
    const step = fc.oneof(
      fc.record({ do: fc.constant('set' as const), common: revisions, own: revisions }),
      fc.record({ do: fc.constant('subscribe' as const), names: fc.subarray(['*', ...names], { minLength: 1 }) }),
      fc.record({ do: fc.constant('unsubscribe' as const), names: fc.subarray(['*', ...names], { minLength: 1 }) }),
      fc.record({ do: fc.constant('block' as const) }),
      fc.record({ do: fc.constant('take' as const) }),
    );
    fc.assert(
      fc.property(revisions, fc.subarray(['*', ...names]), fc.array(step, { maxLength: 30 }), (known, first, steps) => {
        const rig = new Rig();
        const url = CLUSTER_TYPE.url;
        const asked = new Set(first.length === 0 ? ['*'] : first);
        const had = Object.fromEntries(Object.entries(known).filter(([name]) => asked.has('*') || asked.has(name)));
        rig.held.set(url, new Map(Object.entries(had)));
        rig.contents.set(url, content(CLUSTER_TYPE, {}));
        rig.request(CLUSTER_TYPE, { resource_names_subscribe: first, initial_resource_versions: had });
        for (const s of steps) {
          if (s.do === 'set') {
            const own = Object.fromEntries(Object.entries(s.own).filter(([name]) => !(name in s.common)));
            rig.set(CLUSTER_TYPE, layered([content(CLUSTER_TYPE, s.common), content(CLUSTER_TYPE, own)]));
          } else if (s.do === 'subscribe') {
            for (const name of s.names) asked.add(name);
            rig.request(CLUSTER_TYPE, { resource_names_subscribe: s.names });
          } else if (s.do === 'unsubscribe') {
            for (const name of s.names) asked.delete(name);
            // What a client lets go of it drops by itself.
            if (!asked.has('*')) for (const name of names) if (!asked.has(name)) rig.held.get(url)?.delete(name);
            rig.request(CLUSTER_TYPE, { resource_names_unsubscribe: s.names });
          } else rig.writable = s.do === 'take';
        }
        rig.writable = true;
        rig.server.refresh();
        const now = rig.contents.get(url);
        const wanted = [...(now?.resources.values() ?? [])].filter((r) => asked.has('*') || asked.has(r.name));
        const held = [...(rig.held.get(url) ?? [])].filter(([name]) => asked.has('*') || asked.has(name));
        assert.deepEqual(Object.fromEntries(held), Object.fromEntries(wanted.map((r) => [r.name, r.version])));
      }),
      { numRuns: 500 },
    );
  });
});
