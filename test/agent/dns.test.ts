// The application's resolver over real sockets, with an independent DNS client library; names come through the relay.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { test } from 'node:test';
import { decode, encode, type Packet, type Question } from 'dns-packet';
import { DnsServer } from '../../src/agent/dns-server.ts';
import { TcpMessages, tcpFrame } from '../../src/agent/dns-tcp.ts';
import { NameIndex } from '../../src/agent/name-index.ts';
import { createLog } from '../../src/base/log.ts';
import { encode as encodeXds } from '../../src/xds/codec.ts';
import type { NameTable } from '../../src/xds/gen/types.ts';
import { ADS_METHOD, CLUSTER_TYPE, NAME_TABLE_TYPE } from '../../src/xds/resource-types.ts';
import { respond } from './fake-control-plane.ts';
import { openStream, withAgent } from './setup.ts';

const TABLE: NameTable = {
  table: {
    'payment.production.svc.cluster.local': { ips: ['10.96.0.7'], registry: 'Kubernetes', shortname: 'payment', namespace: 'production' },
    'cart.other.svc.cluster.local': { ips: ['10.96.0.8', 'fd00::8'], registry: 'Kubernetes', shortname: 'cart', namespace: 'other' },
    'api.example.com': { ips: ['240.240.0.1'], registry: 'External' },
    '*.wild.example.com': { ips: ['240.240.0.2'], registry: 'External' },
    'big.production.svc.cluster.local': {
      ips: Array.from({ length: 60 }, (_, i) => `10.1.0.${i}`),
      registry: 'Kubernetes',
      shortname: 'big',
      namespace: 'production',
    },
  },
};

const query = (name: string, type = 'A', more: Partial<Packet> = {}): Buffer =>
  encode({ type: 'query', id: 4711, flags: 0x100, questions: [{ name, type, class: 'IN' }], ...more });

const overUdp = (port: number, bytes: Buffer): Promise<Packet> =>
  new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => done(() => reject(new Error('no DNS answer within 5 s'))), 5_000);
    const done = (then: () => void): void => {
      clearTimeout(timer);
      socket.close();
      then();
    };
    socket.on('message', (m) => done(() => resolve(decode(m))));
    socket.send(bytes, port, '127.0.0.1');
  });

const overTcp = (port: number, bytes: Buffer): Promise<Packet> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const messages = new TcpMessages((m) => {
      socket.destroy();
      resolve(decode(m));
    });
    socket.setTimeout(5_000, () => socket.destroy(new Error('no DNS answer within 5 s')));
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => messages.push(chunk));
    const framed = tcpFrame(bytes);
    socket.write(framed.subarray(0, 3));
    setImmediate(() => socket.write(framed.subarray(3)));
  });

const brief = (p: Packet) => ({ rcode: p.rcode, answers: (p.answers ?? []).map((a) => `${a.name} ${a.type} ${String(a.data)}`) });

/** A resolver that says 192.0.2.1 to every question, and what it was asked. */
const upstream = async () => {
  const asked: Packet[] = [];
  const reply = (bytes: Buffer): Buffer => {
    const q = decode(bytes);
    asked.push(q);
    const [question] = q.questions as [Question];
    return encode({
      type: 'response',
      id: q.id ?? 0,
      flags: 0x180,
      questions: [question],
      answers: [{ name: question.name, type: 'A', class: 'IN', ttl: 5, data: '192.0.2.1' }],
    });
  };
  const tcp: Server = createServer((s) => {
    const messages = new TcpMessages((m) => s.write(tcpFrame(reply(m))));
    s.on('data', (chunk: Buffer) => messages.push(chunk));
    s.on('error', () => {});
  });
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as AddressInfo;
  const udp = createSocket('udp4');
  udp.on('message', (m, from) => {
    // A forged answer first: another id must not be believed.
    const forged = reply(m);
    asked.pop();
    forged.writeUInt16BE((forged.readUInt16BE(0) + 1) & 0xffff, 0);
    udp.send(forged, from.port, from.address);
    udp.send(reply(m), from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(port, '127.0.0.1', resolve));
  return { port, asked, close: () => [udp.close(), tcp.close()] };
};

const withResolver = async (upstreams: readonly number[], body: (port: number, server: DnsServer) => Promise<void>): Promise<void> => {
  const server = new DnsServer({
    dns: { listen: { host: '127.0.0.1', port: 0 }, upstreams: upstreams.map((port) => ({ host: '127.0.0.1', port })) },
    namespace: 'production',
    domain: 'cluster.local',
    bindSource: '127.0.0.1',
    log: createLog(
      'dns',
      () => {},
      () => new Date(),
    ),
  });
  await server.start();
  try {
    await body(server.port, server);
  } finally {
    await server.stop();
  }
};

test('names travel from the control plane to the application over UDP and TCP', async () => {
  await withAgent({}, async ({ control, agent }) => {
    const port = agent.ports.dns ?? 0;
    const early = overUdp(port, query('payment.production.svc.cluster.local'));
    const { stream } = openStream(agent.transports.ads, ADS_METHOD);
    stream.send(encodeXds('envoy.service.discovery.v3.DiscoveryRequest', { type_url: CLUSTER_TYPE.url, node: { id: 'x' } }));
    const { call, requests } = await control.ads.next();
    respond(call, {
      type_url: NAME_TABLE_TYPE.url,
      version_info: '1',
      nonce: 'n',
      resources: [{ '@type': NAME_TABLE_TYPE.url, ...TABLE }],
    });
    await requests.until((r) => r.response_nonce === 'n');
    assert.deepEqual(
      (await early).answers?.map((a) => a.data),
      ['10.96.0.7'],
      'a question before the first table waits for it',
    );
    for (const name of ['payment', 'payment.production', 'payment.production.svc', 'Payment.Production.svc.cluster.local']) {
      for (const ask of [overUdp, overTcp]) {
        const answer = await ask(port, query(name));
        assert.deepEqual(brief(answer), { rcode: 'NOERROR', answers: [`${name} A 10.96.0.7`] });
        assert.equal(answer.id, 4711);
        assert.equal(answer.answers?.[0]?.ttl, 30);
      }
    }
  });
});

test('short names end at the namespace; types without data are empty, not absent', async () => {
  await withResolver([], async (port, server) => {
    server.setNames(TABLE);
    const ask = async (name: string, type?: string) => brief(await overUdp(port, query(name, type)));
    assert.deepEqual(await ask('cart'), { rcode: 'NXDOMAIN', answers: [] });
    assert.deepEqual(await ask('cart.other'), { rcode: 'NOERROR', answers: ['cart.other A 10.96.0.8'] });
    assert.deepEqual(await ask('cart.other', 'AAAA'), { rcode: 'NOERROR', answers: ['cart.other AAAA fd00::8'] });
    assert.deepEqual(await ask('payment', 'AAAA'), { rcode: 'NOERROR', answers: [] });
    assert.deepEqual(await ask('payment', 'TXT'), { rcode: 'NOERROR', answers: [] });
    assert.deepEqual(await ask('_http._tcp.payment.production.svc.cluster.local', 'SRV'), { rcode: 'NOERROR', answers: [] });
    assert.deepEqual(await ask('nobody.production.svc.cluster.local'), { rcode: 'NXDOMAIN', answers: [] });
    assert.deepEqual(await ask('a.b.wild.example.com'), { rcode: 'NOERROR', answers: ['a.b.wild.example.com A 240.240.0.2'] });
    assert.deepEqual(await ask('api.example.com.production.svc.cluster.local'), {
      rcode: 'NOERROR',
      answers: ['api.example.com.production.svc.cluster.local CNAME api.example.com', 'api.example.com A 240.240.0.1'],
    });
  });
});

test('an answer too long for UDP is truncated and whole over TCP', async () => {
  await withResolver([], async (port, server) => {
    server.setNames(TABLE);
    const short = await overUdp(port, query('big'));
    assert.deepEqual([short.flag_tc, short.answers?.length], [true, 0]);
    const whole = await overTcp(port, query('big'));
    assert.equal(whole.answers?.length, 60);
    assert.equal(new Set(whole.answers?.map((a) => a.data)).size, 60);
    const edns = await overUdp(port, query('big', 'A', { additionals: [{ name: '.', type: 'OPT', udpPayloadSize: 1232, flags: 0 }] }));
    assert.equal(edns.answers?.length, 60);
  });
});

test('everything else goes to the upstream resolver under another id; a dead one is passed over', async () => {
  const up = await upstream();
  try {
    await withResolver([1, up.port], async (port, server) => {
      server.setNames(TABLE);
      for (const ask of [overUdp, overTcp]) {
        const answer = await ask(port, query('www.example.org'));
        assert.deepEqual(brief(answer), { rcode: 'NOERROR', answers: ['www.example.org A 192.0.2.1'] });
        assert.equal(answer.id, 4711);
      }
      await Promise.all(Array.from({ length: 20 }, () => overUdp(port, query('www.example.org'))));
      assert.ok(new Set(up.asked.map((q) => q.id)).size > 10, 'ids are random');
    });
  } finally {
    up.close();
  }
});

test('when no resolver answers the client is told at once', async () => {
  await withResolver([1], async (port) => {
    assert.equal((await overTcp(port, query('www.example.org'))).rcode, 'SERVFAIL');
    assert.equal((await overUdp(port, query('www.example.org'))).rcode, 'SERVFAIL');
  });
});

test('what is not a question is not answered, and the resolver lives on', async () => {
  await withResolver([], async (port, server) => {
    server.setNames(TABLE);
    const socket = createSocket('udp4');
    for (const bytes of [Buffer.of(1), Buffer.alloc(12, 0xff), encode({ type: 'response', id: 1, questions: [] })])
      socket.send(bytes, port, '127.0.0.1');
    socket.close();
    assert.equal((await overUdp(port, encode({ type: 'query', id: 4711, questions: [] }))).rcode, 'FORMERR');
    assert.equal((await overUdp(port, query('payment'))).rcode, 'NOERROR');
  });
});

test('a host that is called like a short form keeps its own address', () => {
  const index = new NameIndex(
    {
      table: {
        'a.b.svc.cluster.local': { ips: ['10.0.0.1'], shortname: 'a', namespace: 'b' },
        'a.b': { ips: ['10.0.0.2'] },
      },
    },
    { namespace: 'b', domain: 'cluster.local' },
  );
  assert.deepEqual(index.lookup('a.b.')?.v4, ['10.0.0.2']);
  assert.deepEqual(index.lookup('a.b.svc')?.v4, ['10.0.0.1']);
});
