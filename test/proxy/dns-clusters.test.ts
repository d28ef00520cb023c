// Clusters whose hosts are names: what an answer, no address and a failure do to hosts and to connections, and when is asked again.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { Clock } from '../../src/proxy/clock.ts';
import type { DnsAnswer, DnsLookup, DnsQuestion } from '../../src/proxy/cluster/dns-lookup.ts';
import { DnsResolution } from '../../src/proxy/cluster/dns-resolution.ts';
import { TimerWheel } from '../../src/proxy/timer-wheel.ts';
import type { Cluster, ClusterLoadAssignment } from '../../src/xds/gen/types.ts';
import { eventually, hcm, httpBackend, listener, RawClient, startPlane, toCluster } from './harness.ts';

/** Answers what it is told to. */
class FakeDns implements DnsLookup {
  readonly asked: DnsQuestion[] = [];
  readonly answers = new Map<string, readonly string[] | Error>();
  ttlMs: number | undefined = undefined;
  resolve(question: DnsQuestion, done: DnsAnswer): void {
    this.asked.push(question);
    const answer = this.answers.get(question.name) ?? [];
    queueMicrotask(() => (answer instanceof Error ? done(answer, [], undefined) : done(undefined, answer, this.ttlMs)));
  }
}

const named = (type: 'STRICT_DNS' | 'LOGICAL_DNS', names: readonly string[], port: number, more: Partial<Cluster> = {}): Cluster => ({
  name: 'c',
  type,
  connect_timeout: '1s',
  dns_refresh_rate: '0.02s',
  dns_lookup_family: 'V4_ONLY',
  load_assignment: {
    cluster_name: 'c',
    endpoints: [
      { lb_endpoints: names.map((name) => ({ endpoint: { address: { socket_address: { address: name, port_value: port } } } })) },
    ],
  },
  ...more,
});

describe('a cluster of names', () => {
  for (const type of ['STRICT_DNS', 'LOGICAL_DNS'] as const) {
    test(`${type}: serves once the name resolves, and on through failures of the server`, { timeout: 120_000 }, async () => {
      await using backend = await httpBackend(() => 'here');
      const dns = new FakeDns();
      dns.answers.set('a.test', new Error('nobody knows'));
      await using plane = await startPlane(
        { clusters: [named(type, ['a.test'], backend.port)], listeners: [listener('l', hcm([toCluster('c')]))] },
        { dns },
      );
      const client = await RawClient.open(plane.port('l'));
      const first = await client.get('/');
      assert.deepEqual([first.status, first.body], [503, 'no healthy upstream']);
      assert.equal(plane.http[0]?.flags, 'UH');
      dns.answers.set('a.test', ['127.0.0.1']);
      const members = plane.plane.stats.gauge('cluster.c.membership_total');
      await eventually(() => members.value === 1, 'it has a host');
      assert.equal((await client.get('/')).body, 'here');
      dns.answers.set('a.test', new Error('nobody knows'));
      const before = dns.asked.length;
      await eventually(() => dns.asked.length > before + 2, 'it is asked again');
      assert.equal((await client.get('/')).body, 'here');
      client.close();
    });
  }

  test('a name without address empties a strict cluster and leaves a logical one where it was', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend(() => 'here');
    const dns = new FakeDns();
    dns.answers.set('a.test', ['127.0.0.1']);
    await using plane = await startPlane(
      {
        clusters: [named('STRICT_DNS', ['a.test'], backend.port), { ...named('LOGICAL_DNS', ['a.test'], backend.port), name: 'logical' }],
        listeners: [listener('strict', hcm([toCluster('c')])), listener('logical', hcm([toCluster('logical')]))],
      },
      { dns },
    );
    const [strict, logical] = [await RawClient.open(plane.port('strict')), await RawClient.open(plane.port('logical'))];
    assert.equal((await strict.get('/')).status, 200);
    dns.answers.set('a.test', []);
    const members = plane.plane.stats.gauge('cluster.c.membership_total');
    await eventually(() => members.value === 0, 'its host is gone');
    assert.equal((await strict.get('/')).status, 503);
    assert.equal((await logical.get('/')).status, 200);
    strict.close();
    logical.close();
  });

  test('a logical host that moves keeps its connections; new ones go to the new address', { timeout: 120_000 }, async () => {
    await using old = await httpBackend(() => 'old');
    await using fresh = await httpBackend(() => 'new');
    const dns = new FakeDns();
    dns.answers.set('a.test', ['127.0.0.1']);
    await using plane = await startPlane(
      { clusters: [named('LOGICAL_DNS', ['a.test'], old.port)], listeners: [listener('l', hcm([toCluster('c')]))] },
      { dns },
    );
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/')).body, 'old');
    dns.answers.set('a.test', ['127.0.0.2']);
    const hosts = () => [...plane.plane.clusters()].flatMap((cluster) => [...cluster.hosts()].map((host) => host.address));
    await eventually(() => hosts()[0] === `127.0.0.2:${old.port}`, 'it has moved');
    assert.equal(hosts().length, 1);
    assert.equal((await client.get('/')).body, 'old');
    assert.equal(old.sockets.length, 1);
    assert.equal(fresh.sockets.length, 0);
    client.close();
  });
});

class StepClock implements Clock {
  now = 0;
  #next: { at: number; fire: () => void } | undefined;
  monotonicMs(): number {
    return this.now;
  }
  wallMs(): number {
    return this.now;
  }
  after(delayMs: number, fire: () => void): () => void {
    const call = { at: this.now + delayMs, fire };
    this.#next = call;
    return () => {
      if (this.#next === call) this.#next = undefined;
    };
  }
  /** Lets time pass until something is due, and what follows happen. */
  async step(): Promise<void> {
    const call = this.#next;
    this.#next = undefined;
    if (call !== undefined) {
      this.now = Math.max(this.now, call.at);
      call.fire();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** When the name was asked, over `count` questions. */
const askedAt = async (more: Partial<Cluster>, dns: FakeDns, count: number): Promise<number[]> => {
  const clock = new StepClock();
  const times: number[] = [];
  const watched: DnsLookup = {
    resolve: (question, done) => {
      times.push(clock.now);
      dns.resolve(question, done);
    },
  };
  const resolution = new DnsResolution(
    named('STRICT_DNS', ['a.test'], 80, more),
    { wheel: new TimerWheel(clock, () => {}), dns: watched, random: () => 0.999 },
    () => {},
  );
  resolution.start();
  for (let i = 0; i < 10_000 && times.length < count; i++) await clock.step();
  resolution.close();
  return times.slice(1).map((at, i) => at - (times[i] ?? 0));
};

// The wheel is coarse: a wait may be some milliseconds longer than asked.
const about = (waits: readonly number[], wanted: readonly number[]): void => {
  assert.equal(waits.length, wanted.length);
  wanted.forEach((ms, i) => {
    const wait = waits[i] ?? 0;
    assert.ok(wait >= ms - 1 && wait <= ms * 1.1 + 60, `wait ${i} is ${wait}, wanted about ${ms}`);
  });
};

describe('when a name is asked again', () => {
  test('after the refresh rate, with jitter on top', async () => {
    const dns = new FakeDns();
    dns.answers.set('a.test', ['127.0.0.1']);
    about(await askedAt({ dns_refresh_rate: '3s' }, dns, 3), [3000, 3000]);
    about(await askedAt({ dns_refresh_rate: '3s', dns_jitter: '2s' }, dns, 3), [4998, 4998]);
  });

  test('after its time to live where that is respected', async () => {
    const dns = new FakeDns();
    dns.answers.set('a.test', ['127.0.0.1']);
    dns.ttlMs = 30_000;
    about(await askedAt({ dns_refresh_rate: '3s' }, dns, 2), [3000]);
    about(await askedAt({ dns_refresh_rate: '3s', respect_dns_ttl: true }, dns, 2), [30_000]);
    assert.equal(dns.asked.at(-1)?.wantTtl, true);
    dns.ttlMs = 0;
    about(await askedAt({ dns_refresh_rate: '3s', respect_dns_ttl: true }, dns, 2), [3000]);
  });

  test('after failures more and more rarely', async () => {
    const dns = new FakeDns();
    dns.answers.set('a.test', new Error('nobody knows'));
    about(await askedAt({ dns_refresh_rate: '3s' }, dns, 3), [3000, 3000]);
    const rate = { base_interval: '1s', max_interval: '5s' };
    about(await askedAt({ dns_refresh_rate: '3s', dns_failure_refresh_rate: rate }, dns, 6), [999, 1998, 3996, 4995, 4995]);
  });
});

test('the first assignment has every name; an answer that changes nothing makes none', async () => {
  const clock = new StepClock();
  const dns = new FakeDns();
  dns.answers.set('a.test', ['10.0.0.1', '10.0.0.2']);
  dns.answers.set('b.test', new Error('nobody knows'));
  const seen: string[][] = [];
  const addresses = (assignment: ClusterLoadAssignment): string[] =>
    (assignment.endpoints ?? []).flatMap((l) =>
      (l.lb_endpoints ?? []).map((e) => `${e.endpoint?.hostname} ${e.endpoint?.address?.socket_address?.address}`),
    );
  const resolution = new DnsResolution(
    named('STRICT_DNS', ['a.test', 'b.test'], 80),
    { wheel: new TimerWheel(clock, () => {}), dns, random: () => 0 },
    (assignment) => seen.push(addresses(assignment)),
  );
  resolution.start();
  for (let i = 0; i < 20; i++) await clock.step();
  assert.deepEqual(seen, [['a.test 10.0.0.1', 'a.test 10.0.0.2']]);
  dns.answers.set('a.test', ['10.0.0.2', '10.0.0.1']);
  dns.answers.set('b.test', ['10.0.0.3']);
  for (let i = 0; i < 20; i++) await clock.step();
  assert.deepEqual(seen[1], ['a.test 10.0.0.1', 'a.test 10.0.0.2', 'b.test 10.0.0.3']);
  assert.equal(seen.length, 2);
  resolution.close();
});

test('settings that are not honoured are refused by their path', () => {
  const cares = (more: object) => ({
    typed_dns_resolver_config: {
      name: 'cares',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig', ...more },
    },
  });
  const refused: readonly [Partial<Cluster>, RegExp][] = [
    [{ use_tcp_for_dns_lookups: true }, /^use_tcp_for_dns_lookups/],
    [cares({ dns_resolver_options: { use_tcp_for_dns_lookups: true } }), /dns_resolver_options\.use_tcp_for_dns_lookups/],
    [cares({ use_resolvers_as_fallback: true }), /use_resolvers_as_fallback/],
    [cares({ resolvers: [{ pipe: { path: '/x' } }] }), /resolvers\[0\]/],
    [{ typed_dns_resolver_config: { name: 'x', typed_config: { '@type': 'type.googleapis.com/x.Y' } } }, /x\.Y/],
    [{ dns_failure_refresh_rate: { base_interval: '2s', max_interval: '1s' } }, /max_interval/],
  ];
  const dns = new FakeDns();
  const environment = { wheel: new TimerWheel(new StepClock(), () => {}), dns, random: () => 0 };
  const make = (more: Partial<Cluster>) => new DnsResolution(named('STRICT_DNS', ['a.test'], 80, more), environment, () => {});
  for (const [more, path] of refused)
    assert.throws(
      () => make(more),
      (problem) => problem instanceof PlanError && path.test(problem.message),
    );
  make(cares({ resolvers: [{ socket_address: { address: '127.0.0.1', port_value: 5300 } }] })).start();
  assert.deepEqual(dns.asked[0]?.servers, ['127.0.0.1:5300']);
});
