// The sidecar speaks HTTP by its own machines alone: the runtime's would cost memory in every process of the mesh.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sourceTree } from '../structure/source-tree.ts';

test('nothing that `skein proxy` can load imports the runtime’s HTTP', () => {
  const files = new Map(sourceTree().map((f) => [f.path, f]));
  const seen = new Set<string>();
  const wrong: string[] = [];
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const i of files.get(path)?.imports ?? []) {
      if (i.relative) visit(i.target);
      else if (!i.typeOnly && /^(node:)?(http2?|https)$|^@grpc\//.test(i.target)) wrong.push(`${path} imports ${i.target}`);
    }
  };
  visit('src/cli/proxy.ts');
  assert.ok(
    ['proxy/xds/grpc-client', 'proxy/admin/admin-server', 'agent/grpc-channel', 'agent/grpc-served', 'agent/health-server'].every((f) =>
      seen.has(`src/${f}.ts`),
    ),
    'the graph was followed',
  );
  assert.deepEqual(wrong, []);
});
