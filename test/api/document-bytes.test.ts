// Bytes of files that are no text.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FILE_BYTES_MAX } from '../../src/api/limits.ts';
import { textOf } from '../../src/api/reading/document-bytes.ts';

const at = (bytes: Uint8Array): readonly unknown[] => {
  const read = textOf('f', bytes);
  return read.ok ? [read.value] : [read.error.code, read.error.line, read.error.column];
};

test('UTF-8 is taken as it is, replacement characters and byte order mark included', () => {
  for (const text of ['', 'a: ü\n', '\uFEFFa: 1', 'a: "\uFFFD"\n', '😀\r\nb']) assert.deepEqual(at(Buffer.from(text)), [text]);
});

test('the first bad byte is told by line and column', () => {
  const bad = Buffer.from([0xe9]);
  assert.deepEqual(at(Buffer.concat([Buffer.from('a: 1\nb: caf'), bad, Buffer.from('\nc: 2\n')])), ['YAML_SYNTAX', 2, 7]);
  assert.deepEqual(at(Buffer.concat([Buffer.from('ü 😀 \uFFFD '), bad])), ['YAML_SYNTAX', 1, 8]);
  assert.deepEqual(at(Buffer.from([0xe2, 0x82])), ['YAML_SYNTAX', 1, 1], 'a character cut off');
  assert.deepEqual(at(Buffer.from([0xed, 0xa0, 0x80])), ['YAML_SYNTAX', 1, 1], 'half a pair');
});

test('UTF-16 is left to the parser, which has words for it', () => {
  assert.equal(textOf('f', Buffer.from('\uFEFFa: 1', 'utf16le')).ok, true);
});

test('more than the bound is refused', () => {
  assert.deepEqual(at(new Uint8Array(FILE_BYTES_MAX + 1)), ['FILE_TOO_LARGE', 1, 1]);
  assert.equal(textOf('f', Buffer.alloc(FILE_BYTES_MAX, 32)).ok, true);
});
