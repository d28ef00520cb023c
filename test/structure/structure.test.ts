// The house checks itself: directions between rooms, rings, purity, dead files, sizes. Each message names the remedy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SourceFile, sourceTree } from './source-tree.ts';

/** Which rooms a room may import; DESIGN and ARCHITECTURE.md show the same table. */
const MAY_IMPORT: { readonly [room: string]: readonly string[] } = {
  base: [],
  wire: ['base'],
  identity: ['base'],
  xds: ['base'],
  plan: ['base', 'wire', 'identity', 'xds'],
  proxy: ['base', 'wire', 'identity', 'xds', 'plan'],
  agent: ['base', 'wire', 'identity', 'xds'],
  api: ['base', 'identity', 'xds'],
  mesh: ['base', 'identity', 'api'],
  translate: ['base', 'identity', 'api', 'mesh', 'xds'],
  explain: ['base', 'wire', 'identity', 'api', 'mesh', 'translate', 'xds', 'plan'],
  control: ['base', 'wire', 'identity', 'xds', 'plan', 'api', 'mesh', 'translate', 'explain'],
  local: ['base', 'api', 'agent'],
  ratelimit: ['base', 'wire', 'xds'],
  cli: [
    'base',
    'wire',
    'identity',
    'xds',
    'plan',
    'proxy',
    'agent',
    'api',
    'mesh',
    'translate',
    'explain',
    'control',
    'local',
    'ratelimit',
  ],
};
const PURE = ['base', 'wire', 'identity', 'xds', 'plan', 'api', 'mesh', 'translate', 'explain'];
/** Where processes start, and what generated code imports. */
const ENTRANCES = ['src/cli/main.ts', 'src/local/relay-process.ts', 'src/proxy/workers/worker-thread.ts', 'src/xds/table.ts'];
const LINES_MAX = 500;

const files = sourceTree();
const byPath = new Map(files.map((f) => [f.path, f]));
const report = (problems: readonly string[]): void => assert.equal(problems.length, 0, `\n${problems.join('\n')}\n`);

test('every folder of src/ is a room with a place in the table', () => {
  report(
    [...new Set(files.map((f) => f.room))]
      .filter((room) => !(room in MAY_IMPORT))
      .map((room) => `src/${room}/ is no room: add it to MAY_IMPORT with a decision, or move its files`),
  );
});

test('rooms import only in the allowed direction', () => {
  const problems: string[] = [];
  for (const file of files) {
    for (const imported of file.imports) {
      const room = imported.relative && imported.target.startsWith('src/') ? (imported.target.split('/')[1] ?? '') : undefined;
      if (room === undefined || room === file.room) continue;
      if (!MAY_IMPORT[file.room]?.includes(room))
        problems.push(
          `${file.path}:${imported.line} imports ${room}/: ${file.room}/ may import ${MAY_IMPORT[file.room]?.join(', ') || 'nothing'}; move the code or pass the value in`,
        );
    }
  }
  report(problems);
});

/** The sides of the data plane: who serves clients and who calls servers meet in the exchange, and know nothing of each other. */
const CLIENT_SIDE = ['downstream', 'listener'];
const SERVER_SIDE = ['upstream', 'cluster'];

test('in the data plane neither side imports the other', () => {
  const problems: string[] = [];
  const sideOf = (path: string): readonly string[] | undefined => {
    const folder = path.startsWith('src/proxy/') ? (path.split('/')[2] ?? '') : '';
    return [CLIENT_SIDE, SERVER_SIDE].find((side) => side.includes(folder));
  };
  for (const { path, imports } of files) {
    const own = sideOf(path);
    for (const { relative, target, line } of imports) {
      const other = relative ? sideOf(target) : undefined;
      if (own !== undefined && other !== undefined && own !== other)
        problems.push(`${path}:${line} imports ${target}: clients' side and servers' side meet in exchange/`);
    }
  }
  report(problems);
});

test('no import leads out of the package sources or to a missing file', () => {
  const problems: string[] = [];
  for (const file of files) {
    for (const imported of file.imports) {
      if (!imported.relative || imported.target.includes('/gen/') || /\.json$/.test(imported.target)) continue;
      if (!byPath.has(imported.target)) problems.push(`${file.path}:${imported.line} imports ${imported.target}, which is not there`);
    }
  }
  report(problems);
});

test('files do not import each other in a ring', () => {
  const state = new Map<string, 'open' | 'done'>();
  const problems: string[] = [];
  const visit = (file: SourceFile, trail: readonly string[]): void => {
    if (state.get(file.path) === 'done') return;
    if (state.get(file.path) === 'open') {
      problems.push(`ring: ${[...trail.slice(trail.indexOf(file.path)), file.path].join(' -> ')}; move what both need into a third file`);
      return;
    }
    state.set(file.path, 'open');
    for (const imported of file.imports) {
      const next = imported.typeOnly ? undefined : byPath.get(imported.target);
      if (next) visit(next, [...trail, file.path]);
    }
    state.set(file.path, 'done');
  };
  for (const file of files) visit(file, []);
  report(problems);
});

const IMPURE: readonly (readonly [RegExp, string])[] = [
  [/\bawait\b/, 'await'],
  [/\bDate\.now\(|\bnew Date\(\)|\bperformance\./, 'the clock: take it as an argument'],
  [/\bMath\.random\(|\brandomUUID\(|\brandomBytes\(/, 'randomness: take it as an argument'],
  [/\bsetTimeout\(|\bsetInterval\(|\bsetImmediate\(/, 'a timer'],
  [/from 'node:(fs|net|tls|http|https|http2|dgram|dns|child_process|timers|os|process|worker_threads|cluster)(\/promises)?'/, 'I/O'],
  [/\bprocess\.(?!versions)/, 'the process'],
];

test('pure rooms have no clock, sockets, timers, randomness or await', () => {
  const problems: string[] = [];
  for (const file of files.filter((f) => PURE.includes(f.room))) {
    file.lines.forEach((line, i) => {
      const code = line
        .replace(/\/\/.*$|^\s*\*.*$|^\s*\/\*.*$/, '')
        .replace(/'[^']*'(?=[^']*$)/, (s) => (/from\s+$/.test(line.slice(0, line.indexOf(s))) ? s : "''"));
      for (const [pattern, what] of IMPURE)
        if (pattern.test(code)) problems.push(`${file.path}:${i + 1} uses ${what}; ${file.room}/ is pure`);
    });
  }
  report(problems);
});

test('every file is reached from an entrance', () => {
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const imported of byPath.get(path)?.imports ?? []) if (imported.relative) visit(imported.target);
  };
  for (const entrance of ENTRANCES) visit(entrance);
  report(
    files
      .filter((f) => !reached.has(f.path))
      .map((f) => `${f.path} is imported by nothing that src/cli/main.ts reaches: delete it or use it`),
  );
});

test('files stay readable', () => {
  report(
    files
      .filter((f) => f.lines.length - 1 > LINES_MAX)
      .map((f) => `${f.path} has ${f.lines.length - 1} lines: split by subject (${LINES_MAX} at most)`),
  );
});

test('names say what is inside', () => {
  report(
    files
      .filter((f) => /(^|\/|-)(utils?|helpers?|common|manager|misc)(-|\.|\/)/.test(f.path) || /[A-Z_]/.test(f.path.split('/').at(-1) ?? ''))
      .map((f) => `${f.path}: kebab-case nouns, no utils/helpers/common/manager`),
  );
});
