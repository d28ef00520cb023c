// Netlink bytes: framing, attributes, nf_tables batches; and the kernel's own judgement of them, in a namespace of the test's own.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { addressBytes, parseCidr } from '../../src/agent/capture/address.ts';
import {
  attribute,
  cstring,
  decodeAttributes,
  decodeReplies,
  encodeRequests,
  nested,
  u8,
  u32be,
  u32le,
} from '../../src/agent/capture/netlink-message.ts';
import { replaceBatch, replaceChainBatch } from '../../src/agent/capture/nftables.ts';
import { addAddress, addRoute, addVeth } from '../../src/agent/capture/route-messages.ts';
import type { Ruleset } from '../../src/agent/capture/ruleset.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('attributes are padded, their length is not', () => {
  assert.equal(hex(attribute(3, cstring('lo'))), '070003006c6f0000');
  assert.equal(hex(nested(4, attribute(1, u32be(5)))), '0c0004800800010000000005');
  const decoded = decodeAttributes(attribute(3, u8(1, 2, 3, 4, 5)), 0);
  assert.equal(hex(decoded.get(3) ?? u8()), '0102030405');
});

test('requests are numbered and aligned', () => {
  const request = { type: 0x14, flags: 4, payload: u8(1, 2, 3), what: '' };
  assert.equal(
    hex(encodeRequests([request, request], 7)),
    '13000000140005000700000000000000010203001300000014000500080000000000000001020300',
  );
});

test('replies: acknowledgement, refusal, broken length', () => {
  const reply = (error: number): Uint8Array => Buffer.concat([u32le(20), u8(2, 0, 0, 0), u32le(9), u32le(0), u32le(error)]);
  const [ok, refused] = decodeReplies(Buffer.concat([reply(0), reply(-17)]));
  assert.equal(ok?.error, 0);
  assert.equal(refused?.error, 17);
  assert.equal(refused?.sequence, 9);
  assert.deepEqual(decodeReplies(Buffer.concat([u32le(400), u8(2, 0, 0, 0), u32le(1), u32le(0)])), []);
  assert.deepEqual(decodeReplies(u8(1, 2, 3)), []);
});

test('addresses and prefixes', () => {
  assert.equal(hex(addressBytes('::6')), '00000000000000000000000000000006');
  assert.equal(hex(addressBytes('::127.0.0.53')), '0000000000000000000000007f000035');
  assert.equal(hex(addressBytes('2001:db8::1:2')), '20010db8000000000000000000010002');
  assert.equal(hex(parseCidr('10.255.255.255/12').bytes), '0af00000');
  assert.throws(() => parseCidr('10.0.0.0/x'), /not a CIDR/);
  assert.throws(() => addressBytes('10.0.0'), /not an IP address/);
});

test('an address and a route as the kernel reads them', () => {
  // struct ifaddrmsg {AF_INET, 16, 0, 0, index}, IFA_ADDRESS, IFA_LOCAL
  assert.equal(hex(addAddress(3, '10.244.0.1/16').payload), '021000000300000008000100' + '0af40001' + '08000200' + '0af40001');
  // struct rtmsg {AF_INET, 0, 0, 0, main, static, universe, unicast, 0}, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC
  assert.equal(
    hex(addRoute({ destination: '0.0.0.0/0', device: 2, gateway: '10.244.0.1', preferredSource: '10.245.0.9' }).payload),
    '02000000fe04000100000000' + '0800040002000000' + '080005000af40001' + '080007000af50009',
  );
});

test('a veth pair names both ends and the namespace of the peer', () => {
  const { payload } = addVeth('sk10', 2, 'eth0', 4711);
  const outer = decodeAttributes(payload, 16);
  assert.equal(hex(outer.get(3) ?? u8()), hex(cstring('sk10')));
  const info = decodeAttributes(outer.get(18) ?? u8(), 0);
  assert.equal(hex(info.get(1) ?? u8()), hex(cstring('veth')));
  const peer = decodeAttributes(decodeAttributes(info.get(2) ?? u8(), 0).get(1) ?? u8(), 16);
  assert.equal(hex(peer.get(3) ?? u8()), hex(cstring('eth0')));
  assert.equal(hex(peer.get(19) ?? u8()), hex(u32le(4711)));
});

const ruleset: Ruleset = {
  family: 'ipv4',
  chains: [
    {
      table: 'nat',
      name: 'OUTPUT',
      rules: [{ matches: [{ kind: 'protocol', protocol: 'tcp' }], action: { kind: 'redirect', port: 15001 } }],
    },
    { table: 'nat', name: 'OWN', rules: [] },
  ],
};

test('a batch replaces the table and is acknowledged once', () => {
  const batch = replaceBatch([ruleset]);
  assert.deepEqual(
    batch.map((r) => r.type),
    [0x10, 0xa00, 0xa02, 0xa00, 0xa03, 0xa03, 0xa06, 0x11],
  );
  assert.deepEqual(
    batch.map((r) => (r.flags & 4) !== 0),
    [false, false, false, false, false, false, true, false],
  );
  const hook = decodeAttributes(decodeAttributes(batch[4]?.payload ?? u8(), 4).get(4) ?? u8(), 0);
  assert.equal(hex(hook.get(1) ?? u8()), '00000003');
  assert.equal(hex(hook.get(2) ?? u8()), hex(u32be(-100)));
  assert.deepEqual(
    replaceChainBatch('ipv4', { table: 'nat', name: 'OWN', rules: [] }).map((r) => r.type),
    [0x10, 0xa08, 0x11],
  );
});

test('several ports in one positive match are refused rather than halved', () => {
  const two: Ruleset = {
    family: 'ipv4',
    chains: [
      { table: 'nat', name: 'OWN', rules: [{ matches: [{ kind: 'destination-port', ports: [1, 2] }], action: { kind: 'return' } }] },
    ],
  };
  assert.throws(() => replaceBatch([two]), /several ports/);
});

const flags = process.getuid?.() === 0 ? ['-n'] : ['-U', '-r', '-n'];
const allowed = spawnSync('unshare', [...flags, 'true']).status === 0;
test('the kernel takes every kind of rule, again and again, and redirects', {
  skip: allowed ? false : 'the machine forbids network namespaces',
  timeout: 120_000,
}, () => {
  const fixture = fileURLToPath(new URL('capture-kernel.ts', import.meta.url));
  const done = spawnSync('unshare', [...flags, process.execPath, fixture], { encoding: 'utf8' });
  assert.equal(done.stderr.replaceAll(/^.*ExperimentalWarning.*\n.*\n/gm, ''), '');
  const answer = JSON.parse(done.stdout) as Record<string, unknown>;
  assert.deepEqual(answer, {
    backend: 'netlink',
    again: 'netlink',
    redirected: { ip: '10.1.2.3', port: 4321 },
    fromProxyAddress: 'left alone',
    removed: 'left alone',
    badRule: 'refused whole',
    stillRedirected: true,
  });
});
