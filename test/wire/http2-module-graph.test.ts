// The sidecar speaks HTTP/2 by its own machine alone: the runtime's would cost memory in every process of the mesh.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sourceTree } from '../structure/source-tree.ts';

test('nothing that `skein proxy` can load imports node:http2', () => {
  const files = new Map(sourceTree().map((f) => [f.path, f]));
  const seen = new Set<string>();
  const wrong: string[] = [];
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const i of files.get(path)?.imports ?? []) {
      if (i.relative) visit(i.target);
      else if (!i.typeOnly && /^(node:)?http2$|^@grpc\//.test(i.target)) wrong.push(`${path} imports ${i.target}`);
    }
  };
  visit('src/cli/proxy.ts');
  assert.ok(
    seen.has('src/proxy/xds/grpc-client.ts') && seen.has('src/agent/grpc-channel.ts') && seen.has('src/agent/grpc-served.ts'),
    'the graph was followed',
  );
  assert.deepEqual(wrong, []);
});
