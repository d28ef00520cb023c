// Authorization of connections: decided before anything is dialled for them, by who the client is and where it comes from.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect } from 'node:tls';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { FilterChain, Listener_Filter, Principal } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import {
  type Backend,
  chains,
  eventually,
  hcm,
  listener,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';
import { ANY, policy } from './rbac-table.ts';

const rbac = (config: object): Listener_Filter => ({
  name: 'envoy.filters.network.rbac',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC', stat_prefix: 'tcp.', ...config },
});

const echo = (): Promise<Backend> => startBackend((socket, text) => socket.end(`echo ${text}`));

/** What was logged of connections, besides the plane. */
const startRig = async (backend: Backend, filterChains: readonly FilterChain[], more: object = {}) => {
  const told: {
    info: Pick<StreamInfo, 'connectionTerminationDetails' | 'downstreamLocalCloseReason' | 'upstreamHost' | 'dynamicMetadata'>;
  }[] = [];
  const observer = {
    ...silentObserver,
    connectionClosed: ({ connectionTerminationDetails, downstreamLocalCloseReason, upstreamHost, dynamicMetadata }: StreamInfo) =>
      void told.push({
        info: { connectionTerminationDetails, downstreamLocalCloseReason, upstreamHost, dynamicMetadata: { ...dynamicMetadata } },
      }),
  };
  const clusters = [staticCluster('app', [backend.port])];
  const rig = await startPlane({ clusters, listeners: [chains('in', filterChains, more)] }, { observer });
  return { told, rig, port: rig.port('in'), [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
};

test('a connection that is denied is closed before anything is dialled, and the log says by which policy', async () => {
  await using backend = await echo();
  const rules = { action: 'DENY', policies: { 'no one': policy({ destination_ip: { address_prefix: '127.0.0.0', prefix_len: 8 } }) } };
  await using here = await startRig(backend, [{ filters: [rbac({ rules }), tcpProxy('app')] }]);
  const client = await RawClient.open(here.port);
  assert.equal(await client.send('hello').rest(), '');
  client.close();
  assert.equal(backend.sockets.length, 0);
  const [first] = here.told;
  assert.equal(first?.info.connectionTerminationDetails, 'rbac_access_denied_matched_policy[no_one]');
  assert.equal(first?.info.downstreamLocalCloseReason, 'rbac_deny_close');
  assert.equal(here.rig.plane.stats.find('tcp.rbac.denied')?.value, 1);
  assert.equal(here.rig.plane.stats.find('tcp.rbac.allowed')?.value, 0);
});

test('one that is let in is served, and what is only tried out closes nothing', async () => {
  await using backend = await echo();
  const shadow = { action: 'DENY', policies: { s: policy(ANY) } };
  const rules = { policies: { a: policy(ANY, { source_ip: { address_prefix: '127.0.0.1', prefix_len: 32 } }) } };
  const filters = [
    rbac({ rules, shadow_rules: shadow, shadow_rules_stat_prefix: 'try_', enforcement_type: 'CONTINUOUS' }),
    tcpProxy('app'),
  ];
  await using here = await startRig(backend, [{ filters }]);
  const client = await RawClient.open(here.port);
  assert.equal(await client.send('hello').rest(), 'echo hello');
  client.close();
  assert.equal(here.rig.plane.stats.find('tcp.rbac.allowed')?.value, 1);
  assert.equal(here.rig.plane.stats.find('tcp.rbac.try_.shadow_denied')?.value, 1);
});

test('LOG lets all in', async () => {
  await using backend = await echo();
  await using here = await startRig(backend, [{ filters: [rbac({ rules: { action: 'LOG', policies: {} } }), tcpProxy('app')] }]);
  const client = await RawClient.open(here.port);
  assert.equal(await client.send('hello').rest(), 'echo hello');
  client.close();
});

test('a denied client is kept waiting for delay_deny', async () => {
  await using backend = await echo();
  await using here = await startRig(backend, [{ filters: [rbac({ rules: {}, delay_deny: '0.3s' }), tcpProxy('app')] }]);
  const begin = performance.now();
  const client = await RawClient.open(here.port);
  assert.equal(await client.send('hello').rest(), '');
  assert.ok(performance.now() - begin >= 250);
  client.close();
  assert.equal(backend.sockets.length, 0);
});

test('HTTP behind it is not answered either', async () => {
  await using backend = await echo();
  await using here = await startRig(backend, [{ filters: [rbac({ rules: {} }), hcm([toCluster('app')])] }]);
  const client = await RawClient.open(here.port);
  assert.equal(await client.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n').rest(), '');
  client.close();
  assert.equal(backend.sockets.length, 0);
});

test('who the client is comes from its certificate: URI, then DNS name, then subject', async () => {
  const authority = createAuthority('rbac');
  const server = authority.issue({ dns: 'server.test' });
  const clients = {
    both: authority.issue({ uri: 'spiffe://td/ns/a/sa/b', dns: 'dns.test', subject: 'Org' }),
    dns: authority.issue({ dns: 'dns.test', subject: 'Org' }),
    subject: authority.issue({ subject: 'Org' }),
    nobody: undefined,
  };
  const tls = {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: {
        tls_certificates: [{ certificate_chain: { inline_string: server.certificate }, private_key: { inline_string: server.key } }],
        validation_context: { trusted_ca: { inline_string: authority.pem } },
      },
    },
  };
  const who = async (principal: Principal): Promise<string> => {
    await using backend = await echo();
    const rules = { policies: { p: policy({ requested_server_name: { exact: 'sni.test' } }, principal) } };
    await using here = await startRig(backend, [{ filters: [rbac({ rules }), tcpProxy('app')], transport_socket: tls }]);
    const let_in: string[] = [];
    for (const [name, own] of Object.entries(clients)) {
      const socket = connect({
        port: here.port,
        host: '127.0.0.1',
        servername: 'sni.test',
        ca: authority.pem,
        checkServerIdentity: () => undefined,
        ...(own === undefined ? {} : { cert: own.certificate, key: own.key }),
      });
      let text = '';
      socket.on('error', () => {});
      socket.on('data', (bytes) => {
        text += String(bytes);
      });
      socket.write('hi');
      await once(socket, 'close');
      if (text === 'echo hi') let_in.push(name);
    }
    return let_in.join(' ');
  };
  assert.equal(await who({ authenticated: {} }), 'both dns subject nobody');
  assert.equal(await who({ authenticated: { principal_name: { exact: 'spiffe://td/ns/a/sa/b' } } }), 'both');
  assert.equal(await who({ authenticated: { principal_name: { exact: 'dns.test' } } }), 'both dns');
  assert.equal(await who({ authenticated: { principal_name: { contains: 'Org' } } }), 'both dns subject');
  assert.equal(await who({ authenticated: { principal_name: { safe_regex: { regex: '.+' } } } }), 'both dns subject');
  assert.equal(await who({ not_id: { authenticated: { principal_name: { prefix: 'spiffe://td/' } } } }), 'dns subject nobody');
});

const LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener';

test('a PROXY protocol header says who the client is, but not from where the connection comes', async () => {
  const range = (address_prefix: string) => ({ address_prefix, prefix_len: 32 });
  const ids = [{ source_ip: range('1.2.3.4') }, { remote_ip: range('1.2.3.4') }, { direct_remote_ip: range('127.0.0.1') }];
  const permissions = { and_rules: { rules: [{ destination_ip: range('5.6.7.8') }, { destination_port: 2222 }] } };
  const rules = { policies: { p: policy(permissions, { and_ids: { ids } }) } };
  const listener_filters = [{ name: 'pp', typed_config: { '@type': `${LISTENER}.proxy_protocol.v3.ProxyProtocol` } }];
  await using backend = await echo();
  await using here = await startRig(backend, [{ filters: [rbac({ rules }), tcpProxy('app')] }], { listener_filters });
  for (const [ip, answer] of [['1.2.3.4', 'echo hi'] as const, ['1.2.3.5', ''] as const]) {
    const client = await RawClient.open(here.port);
    assert.equal(await client.send(`PROXY TCP4 ${ip} 5.6.7.8 1111 2222\r\nhi`).rest(), answer);
    client.close();
  }
});

test('nobody is dialled for a silent client that would be denied', async () => {
  await using backend = await echo();
  const http = { filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] }, filters: [hcm([toCluster('app')])] };
  const more = {
    listener_filters: [{ name: 'http', typed_config: { '@type': `${LISTENER}.http_inspector.v3.HttpInspector` } }],
    default_filter_chain: { filters: [rbac({ rules: {} }), tcpProxy('app')] },
  };
  await using here = await startRig(backend, [http], more);
  const client = await RawClient.open(here.port);
  await eventually(() => here.rig.plane.stats.find('tcp.rbac.denied')?.value === 1, 'its silence was looked at');
  // It may still speak HTTP, which another chain takes; anything else ends here.
  assert.equal(await client.send('HELO there, this is no HTTP at all\r\n').rest(), '');
  client.close();
  assert.equal(backend.sockets.length, 0);
});

test('what a connection does not have is refused in its policies', async () => {
  await using rig = await startPlane({});
  const take = (config: object) => () => rig.plane.setListener(listener('in', rbac(config)));
  const one = (permission: object, principal: object = ANY) => ({ rules: { policies: { p: policy(permission, principal) } } });
  assert.throws(take(one({ header: { name: 'x', present_match: true } })), /permissions\[0\]\.header: a connection has no headers/);
  assert.throws(take(one({ not_rule: { header: { name: 'x' } } })), /not_rule\.header/);
  assert.throws(take(one(ANY, { header: { name: 'x' } })), /principals\[0\]\.header/);
  assert.throws(take({ ...one(ANY), stat_prefix: '' }), /stat_prefix/);
  assert.throws(take({ matcher: {} }), /matcher/);
});
