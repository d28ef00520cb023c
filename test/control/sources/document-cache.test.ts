// Files of many documents, parsed document by document: the same result as at one go, and only what has changed is parsed again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../../src/api/parse-documents.ts';
import { DocumentCache } from '../../../src/control/sources/document-cache.ts';
import type { ParseText } from '../../../src/control/sources/source.ts';

const entry = (name: string, weight = 1): string =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: ${name}\nspec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a}, weight: ${weight}}]\n`;

const plain: ParseText = (file, text) => parseDocuments(file, text);

/** To the end at once. */
const read = (cache: DocumentCache, file: string, text: string): ReturnType<ParseText> => {
  const parsing = cache.parsing(file, text);
  for (;;) {
    const step = parsing.next();
    if (step.done === true) return step.value;
  }
};

const shown = ({ resources, problems }: ReturnType<ParseText>): unknown => ({
  resources: resources.map((r) => [r.kind, r.name, r.spec, r.origin.file, r.origin.line, r.origin.at('spec.http[0].route')]),
  problems,
});

const TEXTS: Readonly<Record<string, string>> = {
  empty: '',
  one: entry('a'),
  'a marker first': `---\n${entry('a')}---\n${entry('b')}`,
  'comments and empty documents': `# one\n---\n# two\n---\n---\n${entry('a')}\n---   # three\n\n${entry('b')}---\n`,
  'Windows lines': `${entry('a')}---\n${entry('b')}---\n${entry('c')}`.replaceAll('\n', '\r\n'),
  'a byte order mark': `\uFEFF${entry('a')}---\n${entry('b')}`,
  'dashes inside values': `${entry('a')}---\n${entry('b').replace('hosts: [a]', 'hosts:\n  - "a" # ---\n')}---\n${entry('c')}---x: 1\n`,
  'a block text': `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  b: |\n    ---\n     ---\n---\n${entry('b')}`,
  'document ends and directives': `%YAML 1.2\n---\n${entry('a')}...\n---\n${entry('b')}`,
  'an object twice': `${entry('a')}---\n${entry('b')}---\n${entry('a', 2)}---\n${entry('a', 3)}`,
  'an unknown field': `${entry('a')}---\n${entry('b').replace('weight', 'wieght')}---\n${entry('c').replace('host: a', 'hots: a')}`,
  'a warning': `${entry('a')}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n`,
};

test('what a file of documents gives is what it gives at one go', () => {
  for (const [name, text] of Object.entries(TEXTS)) {
    const cache = new DocumentCache(plain);
    assert.deepEqual(shown(read(cache, 'f', text)), shown(plain('f', text)), name);
    const later = `${entry('first')}---\n${text}`;
    if (text.startsWith('%') || text.startsWith('\uFEFF')) continue;
    assert.deepEqual(shown(read(cache, 'f', later)), shown(plain('f', later)), `${name}, moved`);
    assert.deepEqual(shown(read(cache, 'f', text)), shown(plain('f', text)), `${name}, moved back`);
  }
});

test('an edit of one document parses that one, and the others stay the same objects', () => {
  let parsed = 0;
  const cache = new DocumentCache((file, text) => {
    parsed++;
    return plain(file, text);
  });
  const text = Array.from({ length: 200 }, (_, i) => entry(`n${i}`)).join('---\n');
  const before = read(cache, 'f', text).resources;
  assert.equal(parsed, 200);
  const edited = read(cache, 'f', text.replace('name: n100\n', 'name: other\n')).resources;
  assert.equal(parsed, 201);
  assert.deepEqual(
    before.flatMap((r, i) => (r === edited[i] ? [] : [edited[i]?.name])),
    ['other'],
  );
  const shifted = read(cache, 'f', text.replace('hosts: [a]', 'hosts:\n  - a')).resources;
  assert.equal(parsed, 203, 'what was forgotten with the last text and what is new');
  assert.deepEqual([shifted[1]?.origin.line, before[1]?.origin.line], [11, 10]);
  assert.equal(shifted[1]?.spec, before[1]?.spec);
});
