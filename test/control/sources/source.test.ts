// The contract of a configuration source, over both implementations, and what only a watched folder has to survive.
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { FolderSource } from '../../../src/control/sources/folder-source.ts';
import { ObjectSource } from '../../../src/control/sources/object-source.ts';
import type { Source } from '../../../src/control/sources/source.ts';
import { fakePipeline } from '../fake-pipeline.ts';
import { eventually, saveAtomically, temporaryFolder } from '../rig.ts';

const { parseDocuments } = fakePipeline();
const document = (name: string, value: string): string => `kind: Service\nname: ${name}\nspec: {value: ${value}}\n`;
const specValue = (source: Source, name: string): string | undefined => {
  const found = source.state.resources.find((r) => r.name === name);
  return (found?.spec as { readonly value?: string } | undefined)?.value;
};

interface Subject {
  readonly source: Source;
  put(name: string, text: string): void;
  remove(name: string): void;
  /** The same storage read by a new process. */
  again(): Subject;
}

const folderSubject = (root: string): Subject => {
  mkdirSync(root, { recursive: true });
  const source = new FolderSource({ folder: root, parse: (file, text) => parseDocuments(file, text, {}), pollMs: 100 });
  return {
    source,
    put: (name, text) => saveAtomically(join(root, `${name}.yaml`), text),
    remove: (name) => rmSync(join(root, `${name}.yaml`)),
    again: () => folderSubject(root),
  };
};

const objectSubject = (root: string): Subject => {
  const source = new ObjectSource({
    folder: root,
    parse: (file, text, defaultNamespace) => parseDocuments(file, text, { defaultNamespace }),
  });
  return {
    source,
    put: (_, text) => {
      const { resources } = parseDocuments('a.yaml', text, {});
      source.put(
        resources.map((resource, index) => ({
          resource,
          stored: { file: 'a.yaml', text, index, namespace: 'default', createdAt: '2026-01-01T00:00:00.000Z' },
        })),
      );
    },
    remove: (name) => source.remove({ kind: 'Service', namespace: 'default', name }),
    again: () => objectSubject(root),
  };
};

const withSubject = async (make: (root: string) => Subject, run: (subject: Subject) => Promise<void>): Promise<void> => {
  const root = temporaryFolder();
  const subject = make(join(root, 'store'));
  try {
    await run(subject);
  } finally {
    subject.source.close();
    rmSync(root, { recursive: true, force: true });
  }
};

for (const [name, make] of [
  ['folder', folderSubject],
  ['objects', objectSubject],
] as const) {
  describe(`source contract: ${name}`, () => {
    test('reads what is there, announces what changes, knows it again after a restart', async () => {
      await withSubject(make, async (subject) => {
        let announced = 0;
        subject.source.start(() => {
          announced += 1;
        });
        assert.deepEqual(subject.source.state.resources, []);
        subject.put('a', document('a', 'one'));
        await eventually('the object appears', () => specValue(subject.source, 'a') === 'one');
        assert.ok(announced > 0);
        subject.put('a', document('a', 'two'));
        await eventually('the object changes', () => specValue(subject.source, 'a') === 'two');
        subject.put('b', document('b', 'three'));
        await eventually('the second appears', () => specValue(subject.source, 'b') === 'three');
        subject.remove('a');
        await eventually('the first goes', () => subject.source.state.resources.length === 1);
        const again = subject.again();
        again.source.start(() => undefined);
        assert.equal(specValue(again.source, 'b'), 'three');
        assert.equal(again.source.state.resources.length, 1);
        again.source.close();
      });
    });

    test('announces nothing when nothing changes', async () => {
      await withSubject(make, async (subject) => {
        subject.source.start(() => undefined);
        subject.put('a', document('a', 'one'));
        await eventually('the object appears', () => specValue(subject.source, 'a') === 'one');
        let announced = 0;
        const again = subject.again();
        again.source.start(() => {
          announced += 1;
        });
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.equal(announced, 0);
        again.source.close();
      });
    });
  });
}

describe('watched folder', () => {
  const withFolder = async (run: (source: FolderSource, folder: string) => Promise<void>): Promise<void> => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'a.yaml'), document('a', 'one'));
    const source = new FolderSource({ folder, parse: (file, text) => parseDocuments(file, text, {}), pollMs: 100 });
    source.start(() => undefined);
    try {
      await run(source, folder);
    } finally {
      source.close();
      rmSync(folder, { recursive: true, force: true });
    }
  };

  test('a save that is not UTF-8 is refused with its line, and what was good stays', async () => {
    await withFolder(async (source, folder) => {
      writeFileSync(join(folder, 'a.yaml'), Buffer.concat([Buffer.from('kind: Service\nname: '), Buffer.from([0xfc, 0x0a])]));
      await eventually('the problem', () => source.state.problems.length > 0);
      const [problem] = source.state.problems;
      assert.deepEqual([problem?.code, problem?.line, problem?.column], ['YAML_SYNTAX', 2, 7]);
      assert.equal(specValue(source, 'a'), 'one');
    });
  });

  test('without polling too every save is noticed, of a known file, a new one and one that goes', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'a.yaml'), document('a', 'one'));
    const source = new FolderSource({ folder, parse: (file, text) => parseDocuments(file, text, {}), pollMs: 1_000_000 });
    source.start(() => undefined);
    try {
      for (const text of ['two', 'three']) {
        saveAtomically(join(folder, 'a.yaml'), document('a', text));
        await eventually(`a is ${text}`, () => specValue(source, 'a') === text);
      }
      // Both at once: one that is known and one that is not.
      writeFileSync(join(folder, 'a.yaml'), document('a', 'four'));
      saveAtomically(join(folder, 'b.yaml'), document('b', 'one'));
      await eventually('both', () => specValue(source, 'a') === 'four' && specValue(source, 'b') === 'one');
      rmSync(join(folder, 'a.yaml'));
      await eventually('a is gone', () => specValue(source, 'a') === undefined);
      assert.equal(specValue(source, 'b'), 'one');
    } finally {
      source.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a text with an error changes nothing and is told with file, line and column', async () => {
    await withFolder(async (source, folder) => {
      saveAtomically(join(folder, 'a.yaml'), `${document('a', 'two')}---\n${document('b', '!broken')}`);
      const [problem] = await eventually('the problem', () => source.state.problems.length > 0 && source.state.problems);
      assert.equal(problem?.file, join(folder, 'a.yaml'));
      assert.deepEqual([problem?.line, problem?.column], [7, 15]);
      assert.equal(specValue(source, 'a'), 'one');
      assert.equal(specValue(source, 'b'), undefined);
      assert.deepEqual(source.state.files, [{ path: join(folder, 'a.yaml'), state: 'refused', objects: 1 }]);
      saveAtomically(join(folder, 'a.yaml'), document('a', 'three'));
      await eventually('the repaired text applies', () => specValue(source, 'a') === 'three');
      assert.deepEqual(source.state.problems, []);
    });
  });

  test('a file is read only when whole: truncated, moved away and written in pieces', async () => {
    await withFolder(async (source, folder) => {
      const path = join(folder, 'a.yaml');
      const seen = new Set<string | undefined>();
      const watching = setInterval(() => seen.add(specValue(source, 'a')), 2);
      writeFileSync(path, ''); // truncated first
      await new Promise((resolve) => setTimeout(resolve, 60));
      writeFileSync(path, document('a', 'two'));
      await eventually('the rewritten text', () => specValue(source, 'a') === 'two');
      renameSync(path, join(folder, 'a.yaml~')); // as vim does
      await new Promise((resolve) => setTimeout(resolve, 40));
      writeFileSync(path, document('a', 'three'));
      await eventually('the new file', () => specValue(source, 'a') === 'three');
      writeFileSync(path, 'kind: Service\nname: a\n');
      appendFileSync(path, 'spec: {value: four}\n');
      await eventually('the text in two pieces', () => specValue(source, 'a') === 'four');
      clearInterval(watching);
      assert.deepEqual(
        [...seen].sort(),
        ['four', 'one', 'three', 'two'].filter((v) => seen.has(v)),
      );
      assert.ok(!seen.has(undefined), 'the object was never gone');
    });
  });

  test('a renamed file is one change; folders below and links are followed; other files are not read', async () => {
    await withFolder(async (source, folder) => {
      mkdirSync(join(folder, 'below'));
      renameSync(join(folder, 'a.yaml'), join(folder, 'below', 'b.yml'));
      await eventually('the new path', () => source.state.files[0]?.path.endsWith('below/b.yml'));
      assert.equal(source.state.resources.length, 1);
      const outside = temporaryFolder();
      writeFileSync(join(outside, 'c.json'), '{"kind":"Service","name":"c","spec":{"value":"json"}}');
      symlinkSync(join(outside, 'c.json'), join(folder, 'c.json'));
      writeFileSync(join(folder, 'notes.txt'), '!broken');
      writeFileSync(join(folder, '.hidden.yaml'), '!broken');
      await eventually('the linked file', () => specValue(source, 'c') === 'json');
      assert.deepEqual(source.state.problems, []);
      rmSync(outside, { recursive: true });
    });
  });

  test('a link back to a folder already read hides nothing else', async () => {
    await withFolder(async (source, folder) => {
      symlinkSync('.', join(folder, 'again'));
      writeFileSync(join(folder, 'zz.json'), '{"kind":"Service","name":"zz","spec":{"value":"beside"}}');
      await eventually('the file beside the loop', () => specValue(source, 'zz') === 'beside');
      assert.deepEqual(source.state.problems, []);
    });
  });

  test('others get their turn while hundreds of documents are read, and what comes meanwhile is not lost', async () => {
    const root = temporaryFolder();
    let parsed = 0;
    const slow: typeof parseDocuments = (file, text) => {
      const until = performance.now() + 1;
      while (performance.now() < until);
      parsed++;
      return parseDocuments(file, text, {});
    };
    const source = new FolderSource({ folder: root, parse: (file, text) => slow(file, text, {}), pollMs: 100 });
    source.start(() => undefined);
    try {
      const turns = new Set<number>();
      const watching = setInterval(() => {
        if (parsed > 0 && parsed < 300 && turns.add(parsed).size === 2) saveAtomically(join(root, 'b.yaml'), document('late', 'two'));
      }, 1);
      saveAtomically(join(root, 'a.yaml'), Array.from({ length: 300 }, (_, i) => document(`a${i}`, 'one')).join('---\n'));
      await eventually('all of them', () => source.state.resources.length >= 300);
      clearInterval(watching);
      assert.ok(turns.size > 2, `turns at ${[...turns].join(' ')} of 300 documents`);
      await eventually('the file that came meanwhile', () => specValue(source, 'late') === 'two');
    } finally {
      source.close();
      rmSync(root, { recursive: true });
    }
  });

  test('a folder that is gone keeps what it gave', async () => {
    await withFolder(async (source, folder) => {
      renameSync(folder, `${folder}-gone`);
      await eventually('the problem', () => source.state.problems.some((p) => p.code === 'FOLDER_UNREADABLE'));
      assert.equal(specValue(source, 'a'), 'one');
      renameSync(`${folder}-gone`, folder);
      await eventually('no problem', () => source.state.problems.length === 0);
    });
  });
});
