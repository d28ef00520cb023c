// Patterns that are read without RE2 say what RE2 says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RE2JS } from 're2js';
import { compilePlainPattern } from '../../src/plan/plain-pattern.ts';

const PATTERNS = [
  '',
  'a',
  '.*',
  '.+',
  'a.*',
  'a.+',
  '.*a',
  '.+a',
  '.*a.*',
  '.+a.*',
  '.*a.+',
  '.+a.+',
  '.*/ns/a/.*',
  'spiffe://td/ns/a/.*',
  '.*\\.a\\.b',
  '.*a\\-b.*',
  '.*\\*.*',
];
const TEXTS = [
  '',
  'a',
  'b',
  'aa',
  'ab',
  'ba',
  'aba',
  'bab',
  'aaa',
  '\n',
  'a\n',
  '\na',
  'a\nb',
  'baab',
  '/ns/a/',
  'spiffe://td/ns/a/sa/b',
  'spiffe://td/ns/b/sa/a',
  'x.a.b',
  'xaab',
  '.a.b',
  'a-b',
  'xa-by',
  '*',
  'a*b',
  'ä',
  'äa',
  '\u{1F600}',
  '\u{1F600}a',
  'a\u{1F600}',
];

test('whole texts match as RE2 matches them', () => {
  for (const pattern of PATTERNS) {
    const plain = compilePlainPattern(pattern);
    assert.ok(plain, pattern);
    const re2 = RE2JS.compile(pattern);
    for (const text of TEXTS) assert.equal(plain(text), re2.matches(text), `${pattern} on ${JSON.stringify(text)}`);
  }
});

test('anything harder is left to RE2', () => {
  for (const pattern of [
    'a.b',
    'a|b',
    '(a)',
    '[a]',
    'a?',
    'a*',
    'a+',
    '^a',
    'a$',
    '\\d',
    '\\w.*',
    'a{2}',
    '.*a.*b',
    '.',
    '..',
    '.*?',
    '.+?',
    '(?i)a',
    '\\',
    'ä',
    'a\n',
    '\\Qa\\E',
    '\\n',
    '.+.+',
    '.*.+',
  ])
    assert.equal(compilePlainPattern(pattern), undefined, pattern);
});
