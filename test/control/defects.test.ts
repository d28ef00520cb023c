// Defects of the pure stages: a thrown error is told and survived, and what was served before is served on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Problem } from '../../src/api/problem.ts';
import type { Pipeline } from '../../src/control/pipeline.ts';
import { fakePipeline } from './fake-pipeline.ts';
import { eventually, type Rig, startRig, XdsClient } from './rig.ts';

const object = (name: string, value: string): string => `kind: Service\nname: ${name}\nspec: {value: ${value}}\n`;

/** A stage throws when the mesh's text holds `poison`. */
const poisoned = (stage: 'parseDocuments' | 'buildSnapshot' | 'translatePieces'): Pipeline => {
  const pipeline = fakePipeline();
  const whole = pipeline[stage] as (...args: readonly unknown[]) => unknown;
  const check = (text: unknown): void => {
    if (JSON.stringify(text).includes('poison')) throw new Error(`defect of ${stage}`);
  };
  const guarded = (...args: readonly unknown[]): unknown => {
    check(args);
    const [kind, piece] = args;
    if (typeof piece !== 'function') return whole(...args);
    return whole(kind, (name: string, make: (...made: readonly unknown[]) => unknown) =>
      piece(name, (...from: readonly unknown[]) => {
        check(from);
        return make(...from);
      }),
    );
  };
  return { ...pipeline, [stage]: guarded };
};

const problems = async (rig: Rig): Promise<readonly Problem[]> =>
  ((await rig.admin('GET', '/v1/status')).body as { readonly problems: readonly Problem[] }).problems;

for (const stage of ['parseDocuments', 'buildSnapshot', 'translatePieces'] as const) {
  describe(`a defect of ${stage}`, () => {
    test('is a problem; proxies keep what they have, and the next good configuration reaches them', async () => {
      const rig = await startRig({ 'a.yaml': object('a', 'one') }, { pipeline: poisoned(stage) });
      try {
        const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a') });
        client.subscribe('CDS');
        client.ack(await client.next('CDS', 1));
        rig.save('b.yaml', object('b', 'poison'));
        await eventually('the defect is logged or told', () => /defect of/.test(rig.log.join('')));
        const told = await problems(rig);
        assert.ok(
          told.some((p) => p.code === 'INTERNAL' && p.severity === 'error' && p.message.includes(`defect of ${stage}`)),
          JSON.stringify(told),
        );
        assert.equal(client.of('CDS').length, 1);
        rig.save('b.yaml', object('b', 'two'));
        assert.deepEqual((await client.next('CDS', 2)).names, ['a', 'b']);
        assert.ok(!(await problems(rig)).some((p) => p.code === 'INTERNAL'));
        client.close();
      } finally {
        await rig.close();
      }
    });

    test('at the start does not end the process', async () => {
      const rig = await startRig({ 'b.yaml': object('b', 'poison') }, { pipeline: poisoned(stage) });
      try {
        const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a') });
        client.subscribe('CDS');
        if (stage === 'parseDocuments') client.ack(await client.next('CDS', 1)); // a file that is refused leaves the rest
        rig.save('b.yaml', object('b', 'two'));
        await eventually('the mesh is served once it can be', () => client.of('CDS').some((r) => r.names.includes('b')));
        client.close();
      } finally {
        await rig.close();
      }
    });
  });
}
