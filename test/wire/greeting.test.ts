// What a server says before its client has said anything: HTTP, or a protocol of its own.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { sniffGreeting } from '../../src/wire/http-sniff.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

describe('the greeting of a server', () => {
  for (const [name, bytes] of [
    ['HTTP/2 SETTINGS', hex('000012040000000000')],
    ['empty HTTP/2 SETTINGS', hex('000000040000000000')],
    ['an HTTP/1 response', Buffer.from('HTTP/1.1 408 Request Timeout\r\n')],
  ] as const)
    test(`is HTTP for ${name}, however it arrives`, () => {
      assert.equal(sniffGreeting(bytes), 'http');
      const enough = bytes[0] === 0 ? 9 : 7;
      for (let n = 0; n < enough; n++) assert.equal(sniffGreeting(bytes.subarray(0, n)), 'need-more', `${n} bytes`);
    });

  for (const [name, bytes] of [
    ['MySQL', hex('4a0000000a382e302e33')],
    ['SMTP', Buffer.from('220 mail ESMTP\r\n')],
    ['SSH', Buffer.from('SSH-2.0-x\r\n')],
    ['HTTP in another version', Buffer.from('HTTP/2 200')],
    ['an HTTP/2 frame that is not SETTINGS', hex('000008060000000000')],
    ['SETTINGS of a length that cannot be', hex('000007040000000000')],
    ['SETTINGS that acknowledge', hex('000000040100000000')],
    ['SETTINGS on a stream', hex('000006040000000001')],
    ['a Finger of zeros', hex('000000000000')],
  ] as const)
    test(`is its own for ${name}`, () => assert.equal(sniffGreeting(bytes), 'other'));

  test('is decided within nine bytes and never taken back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 9, maxLength: 40 }), (bytes) => {
        const last = sniffGreeting(bytes);
        assert.notEqual(last, 'need-more');
        for (let n = 1; n < bytes.length; n++) {
          const seen = sniffGreeting(bytes.subarray(0, n));
          if (seen !== 'need-more') assert.equal(seen, last);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
