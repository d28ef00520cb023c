// PROXY protocol headers: what Envoy takes is taken, what it refuses is refused, and nothing hostile gets further.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ProxyHeader, readProxyHeader, writeProxyV1, writeProxyV2 } from '../../src/wire/proxy-protocol.ts';

const V2 = '\r\n\r\n\0\r\nQUIT\n';
const IPV4 = '\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae';
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const v2 = (rest: string, command = 0x21, family = 0x11, length = rest.length): Buffer =>
  Buffer.concat([bytes(V2), Buffer.from([command, family, length >> 8, length & 255]), bytes(rest)]);
const read = (input: Buffer | string): ProxyHeader => readProxyHeader(typeof input === 'string' ? bytes(input) : input);
const ends = (header: ProxyHeader): string => {
  if (header.kind !== 'header') return header.kind;
  const a = header.addresses;
  return a === undefined ? 'own' : `${a.sourceIp} ${a.sourcePort} ${a.destinationIp} ${a.destinationPort}`;
};

describe('PROXY protocol headers that are taken', () => {
  const taken: readonly (readonly [string, Buffer | string, string])[] = [
    ['version 1 over IPv4', 'PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n', '1.2.3.4 11 5.6.7.8 22'],
    ['version 1 over IPv6', 'PROXY TCP6 1::2 3::4 11 22\r\n', '1::2 11 3::4 22'],
    ['version 1 without addresses', 'PROXY UNKNOWN\r\n', 'own'],
    ['version 1 unknown with anything behind', 'PROXY UNKNOWN ffff:: 1 2\r\n', 'own'],
    ['ports with a leading zero', 'PROXY TCP4 1.2.3.4 5.6.7.8 011 22\r\n', '1.2.3.4 11 5.6.7.8 22'],
    ['ports of zero', 'PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n', '1.2.3.4 0 5.6.7.8 0'],
    ['version 2 over IPv4', v2(IPV4), '1.2.3.4 1111 5.6.7.8 2222'],
    ['version 2 over IPv4 datagrams', v2(IPV4, 0x21, 0x12), '1.2.3.4 1111 5.6.7.8 2222'],
    ['version 2 local with addresses', v2(IPV4, 0x20), 'own'],
    ['version 2 local without any', v2('', 0x20, 0), 'own'],
    ['version 2 over IPv6', v2(`\0\x01${'\0'.repeat(13)}\x02\0\x03${'\0'.repeat(13)}\x04\0\x01\0\x02`, 0x21, 0x21), '1::2 1 3::4 2'],
  ];
  for (const [name, input, expected] of taken)
    test(name, () => {
      const whole = typeof input === 'string' ? bytes(input) : input;
      const header = read(Buffer.concat([whole, bytes('rest')]));
      assert.equal(ends(header), expected);
      assert.equal(header.kind === 'header' && header.length, whole.length);
      for (let n = 0; n < whole.length; n++) assert.equal(read(whole.subarray(0, n)).kind, 'need-more', `${n} bytes`);
    });

  test('type-length-values are told in order', () => {
    const header = read(v2(`${IPV4}\xe0\0\x02ab\xe1\0\0`));
    assert.deepEqual(header.kind === 'header' && header.tlvs.map((t) => [t.type, t.value.toString()]), [
      [0xe0, 'ab'],
      [0xe1, ''],
    ]);
  });
});

describe('PROXY protocol headers that are refused', () => {
  const refused: readonly (readonly [string, Buffer | string])[] = [
    ['addresses of the other family', 'PROXY TCP6 1.2.3.4 5.6.7.8 11 22\r\n'],
    ['a port beyond 65535', 'PROXY TCP4 1.2.3.4 5.6.7.8 11 99999\r\n'],
    ['a port with a sign', 'PROXY TCP4 1.2.3.4 5.6.7.8 +1 22\r\n'],
    ['two spaces', 'PROXY  TCP4 1.2.3.4 5.6.7.8 11 22\r\n'],
    ['a field too many', 'PROXY TCP4 1.2.3.4 5.6.7.8 11 22 33\r\n'],
    ['a field too few', 'PROXY TCP4 1.2.3.4 5.6.7.8 11\r\n'],
    ['the unspecified address', 'PROXY TCP4 0.0.0.0 5.6.7.8 11 22\r\n'],
    ['an address with a leading zero', 'PROXY TCP4 01.2.3.4 5.6.7.8 11 22\r\n'],
    ['an address of three numbers', 'PROXY TCP4 1.2.3 5.6.7.8 11 22\r\n'],
    ['IPv6 with two gaps', 'PROXY TCP6 1::2::3 3::4 11 22\r\n'],
    ['IPv6 of nine groups', 'PROXY TCP6 1:2:3:4:5:6:7:8:9 3::4 11 22\r\n'],
    ['an unknown protocol', 'PROXY UDP4 1.2.3.4 5.6.7.8 11 22\r\n'],
    ['a bare line feed', 'PROXY TCP4 1.2.3.4 5.6.7.8 11 22\nhi\r\n'],
    ['a line that does not end', `PROXY TCP4 ${'1'.repeat(110)}`],
    ['a line that ends too late', `PROXY TCP4 ${'1'.repeat(110)}\r\n`],
    ['an unknown version', v2(IPV4, 0x31)],
    ['an unknown command', v2(IPV4, 0x22)],
    ['an unspecified family', v2(IPV4, 0x21, 0)],
    ['a family that is no network', v2('\0'.repeat(216), 0x21, 0x31)],
    ['no transport', v2(IPV4, 0x21, 0x10)],
    ['an address cut short', v2('\x01\x02\x03\x04')],
    ['a value beyond the end', v2(`${IPV4}\xe0\0\x09ab`)],
    ['a type without length', v2(`${IPV4}\xe0\0`)],
  ];
  for (const [name, input] of refused) test(name, () => assert.equal(read(input).kind, 'error'));

  test('what is no header is told at the first byte that differs', () => {
    for (const text of ['hello', 'GET / HTTP/1.1', 'PROXX', 'PROXY\r', '\r\n\r\nh', '\x16\x03\x01'])
      assert.equal(read(text).kind, 'none', text);
  });

  test('random bytes never break it, and it never asks for more than it may', () => {
    const start = fc.constantFrom('', 'PROXY ', 'PROXY TCP4 ', V2, `${V2}\x21\x11`, `${V2}\x21\x21\0`);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 300 }), (head, tail) => {
        const input = Buffer.concat([bytes(head), tail]);
        const header = read(input);
        if (header.kind === 'header') assert.ok(header.length <= input.length);
        if (header.kind === 'need-more' && head.startsWith('PROXY')) assert.ok(input.length < 107);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('written PROXY protocol headers', () => {
  const ip4 = fc.tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.nat(255)).map((p) => p.join('.'));
  const port = fc.nat(65535);
  const ip6 = fc.array(fc.nat(0xfffe), { minLength: 8, maxLength: 8 }).map(
    (g) =>
      `1:${g
        .slice(1)
        .map((n) => n.toString(16))
        .join(':')}`,
  );
  const both = (ip: fc.Arbitrary<string>) => fc.record({ sourceIp: ip, destinationIp: ip, sourcePort: port, destinationPort: port });

  test('are read back the same', () => {
    fc.assert(
      fc.property(fc.oneof(both(ip4), both(ip6)), (addresses) => {
        assert.deepEqual(ends(read(writeProxyV1(addresses))).split(' ')[1], String(addresses.sourcePort));
        const again = read(writeProxyV2(addresses, [{ type: 0xe4, value: bytes('x') }]));
        assert.equal(again.kind, 'header');
        if (again.kind !== 'header') return;
        assert.equal(again.tlvs[0]?.value.toString(), 'x');
        assert.deepEqual(writeProxyV2(again.addresses, again.tlvs), writeProxyV2(addresses, again.tlvs));
      }),
    );
  });

  test('are byte for byte what Envoy writes', () => {
    const addresses = { sourceIp: '127.0.0.1', destinationIp: '127.0.0.1', sourcePort: 45392, destinationPort: 20117 };
    assert.equal(writeProxyV1(addresses).toString(), 'PROXY TCP4 127.0.0.1 127.0.0.1 45392 20117\r\n');
    assert.equal(
      writeProxyV2({ ...addresses, sourcePort: 36962, destinationPort: 20118 }, []).toString('latin1'),
      `${V2}!\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x90bN\x96`,
    );
    assert.equal(
      writeProxyV2({ sourceIp: '1.2.3.4', destinationIp: '5.6.7.8', sourcePort: 1111, destinationPort: 2222 }, [
        { type: 0xe0, value: bytes('ab') },
        { type: 0xe1, value: bytes('z') },
      ]).toString('latin1'),
      `${V2}!\x11\x00\x15${IPV4}\xe0\x00\x02ab\xe1\x00\x01z`,
    );
  });

  test('without addresses say so', () => {
    assert.equal(writeProxyV1(undefined).toString(), 'PROXY UNKNOWN\r\n');
    assert.deepEqual(writeProxyV2(undefined, []), v2('', 0x20, 0));
  });
});
