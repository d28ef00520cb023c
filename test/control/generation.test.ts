// The generation's number tells whether anything is in force that was not before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, type Rig, startRig } from './rig.ts';

const service = (name: string, value: string): string => `kind: Service\nname: ${name}\nspec: {value: ${value}}\n`;
const broken = (rig: Rig): number => rig.controlPlane.model.current?.problems.filter((p) => p.code === 'INVALID').length ?? 0;

test('a save that is refused, and its repair to the old text, leave the number; a change moves it', async () => {
  const rig = await startRig({ 'a.yaml': service('a', 'x') });
  const number = (): number => rig.controlPlane.model.current?.number ?? 0;
  try {
    const before = number();
    rig.save('b.yaml', `${service('b', '!broken')}---\n${service('good', 'x')}`);
    await eventually('the problem is known', () => broken(rig) === 1);
    assert.equal(number(), before);
    rig.save('b.yaml', '');
    await eventually('the problem is gone', () => broken(rig) === 0);
    assert.equal(number(), before);
    rig.save('a.yaml', service('a', 'y'));
    await eventually('the change is in force', () => number() === before + 1);
  } finally {
    await rig.close();
  }
});
