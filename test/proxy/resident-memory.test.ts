// What may be given back to the page cache: mappings of files of which every page is the file's own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cleanFileMappings } from '../../src/proxy/resident-memory.ts';

const mapping = (range: string, mode: string, inode: string, anonymous: number): string =>
  `${range} ${mode} 00000000 fd:01 ${inode} /usr/bin/x\nSize: 8 kB\nRss: 8 kB\nAnonymous:         ${anonymous} kB\nVmFlags: rd\n`;

test('only unwritable file mappings without a private page are given back', () => {
  const smaps = [
    mapping('1000-3000', 'r-xp', '42', 0),
    mapping('3000-4000', 'r--p', '42', 0),
    mapping('4000-5000', 'r--p', '42', 12), // relocated: the file does not have these bytes
    mapping('5000-6000', 'rw-p', '42', 0),
    mapping('6000-7000', 'r-xp', '0', 0), // no file
    mapping('7000-8000', 'r-xs', '42', 0),
  ].join('');
  assert.deepEqual(cleanFileMappings(smaps), [
    [0x1000n, 0x3000n],
    [0x3000n, 0x4000n],
  ]);
});
