// The configuration of the rate-limit server: the reference's format, problems with file and line, the last good one kept.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type ConfigProblem, parseConfig, problemText } from '../../src/ratelimit/config-document.ts';
import { ConfigFolder } from '../../src/ratelimit/config-folder.ts';
import { findLimit } from '../../src/ratelimit/limit-tree.ts';

const TREE = `
domain: shop
descriptors:
  - key: user
    value: ann
    rate_limit: { unit: second, requests_per_unit: 7 }
  - key: user
    value: a*
    rate_limit: { unit: hour, requests_per_unit: 6 }
  - key: user
    rate_limit: { unit: MINUTE, requests_per_unit: 5, name: each }
    descriptors:
      - key: path
        value: /pay
        rate_limit: { unit: day, requests_per_unit: 4 }
  - key: version
    value: 1.0
    rate_limit: { unlimited: true }
  - key: outer
    descriptors:
      - key: inner
        rate_limit: { unit: week, requests_per_unit: 3, unit_multiplier: 2 }
        shadow_mode: true
`;

describe('configuration of the rate-limit server', () => {
  test('a descriptor meets the exact value, else a wildcard, else the key alone; as deep as it says', () => {
    const { domains, problems } = parseConfig('a.yaml', TREE);
    assert.deepEqual(problems, []);
    const root = domains[0]?.root;
    assert.ok(root);
    const find = (...entries: (readonly [string, string])[]): string => {
      const limit = findLimit(
        root,
        entries.map(([key, value]) => ({ key, value })),
      );
      return limit === undefined ? 'none' : `${limit.path} ${limit.unlimited ? 'unlimited' : `${limit.requests}/${limit.unit}`}`;
    };
    assert.equal(find(['user', 'ann']), 'shop.user_ann 7/second');
    assert.equal(find(['user', 'adam']), 'shop.user_a* 6/hour');
    assert.equal(find(['user', 'bob']), 'shop.user 5/minute');
    assert.equal(find(['user', 'bob'], ['path', '/pay']), 'shop.user.path_/pay 4/day');
    assert.equal(find(['user', 'bob'], ['path', '/']), 'none', 'more than is configured');
    assert.equal(find(['user', 'ann'], ['path', '/pay']), 'none', 'ann has nothing below');
    assert.equal(find(['version', '1.0']), 'shop.version_1.0 unlimited', 'a number is the text it is written as');
    assert.equal(find(['outer', 'x']), 'none');
    assert.equal(find(['outer', 'x'], ['inner', 'y']), 'shop.outer.inner 3/week', 'a key alone is any value');
    assert.equal(find(['other', 'x']), 'none');
    assert.equal(find(), 'none');
  });

  test('every problem is told with file, line and column', () => {
    const rows: [string, RegExp][] = [
      ['descriptors: []', /^f:1:1: domain is required/],
      ['domain: a\ndescriptor: []', /^f:2:1: a configuration has no field "descriptor" \(known: domain, descriptors\)/],
      ['domain: a\ndescriptors: {}', /^f:2:14: descriptors must be a list/],
      ['domain: a\ndescriptors:\n  - value: x', /^f:3:5: a descriptor needs a key/],
      ['domain: a\ndescriptors:\n  - key: k\n  - key: k', /^f:4:5: "k" is described twice in a/],
      [
        'domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: fortnight, requests_per_unit: 1}',
        /^f:4:24: unit "fortnight" is none of second, /,
      ],
      ['domain: a\ndescriptors:\n  - key: k\n    rate_limit: {requests_per_unit: 1}', /^f:4:17: unit is required/],
      [
        'domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: -1}',
        /^f:4:48: requests_per_unit must be a whole number/,
      ],
      ['domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unlimited: true, unit: day}', /^f:4:41: an unlimited rate_limit has no unit/],
      [
        'domain: a\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, name: n, replaces: [{name: n}]}',
        /^f:4:49: a rate_limit cannot replace itself/,
      ],
      ['domain: a\ndescriptors:\n  - key: k\n    shadow_mode: maybe', /^f:4:18: shadow_mode must be true or false/],
      ['domain: a\ndescriptors: [', /^f:2:/],
      ['- a', /^f:1:1: a configuration must be a map/],
    ];
    for (const [text, wanted] of rows) {
      const { problems } = parseConfig('f', text);
      assert.match(problems.map(problemText).join('\n'), wanted, text);
    }
  });

  test('the folder is one configuration; one with problems changes nothing', () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-limits-'));
    const told: string[] = [];
    const write = (name: string, text: string): void => writeFileSync(join(dir, name), text);
    write('a.yaml', TREE);
    const folder = new ConfigFolder(
      dir,
      {
        changed: (domains) => told.push([...domains.keys()].sort().join()),
        refused: (problems: readonly ConfigProblem[]) => told.push(...problems.map((p) => `refused ${p.line}: ${p.message}`)),
      },
      60_000,
    );
    try {
      folder.look();
      write('b.yaml', 'domain: bank\n');
      folder.look();
      write('b.yaml', '\ndomain: shop\n');
      folder.look();
      assert.deepEqual([...folder.domains.keys()].sort(), ['bank', 'shop']);
      rmSync(join(dir, 'a.yaml'));
      folder.look();
      rmSync(dir, { recursive: true });
      folder.look();
      assert.deepEqual([...folder.domains.keys()], ['shop'], 'a folder that is gone takes nothing along');
      assert.deepEqual(told, [
        'shop',
        'bank,shop',
        `refused 2: domain "shop" is configured in ${join(dir, 'a.yaml')}:2 already`,
        'shop',
        'refused 1: cannot be read',
      ]);
    } finally {
      folder.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
