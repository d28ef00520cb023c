// Calls from inside the live shop, and what is asked of their answers.
import type { Mesh } from '../integration/mesh.ts';
import { eventually } from '../integration/suite.ts';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One request by curl in a workload's namespace: status 0 when nobody answered. */
export const call = async (mesh: Mesh, from: string, ...words: readonly string[]): Promise<Answer> => {
  const { out } = await mesh.exec(from, 'curl', '-s', '--max-time', '5', '-w', '\n%{http_code}', ...words);
  const end = out.lastIndexOf('\n');
  return { status: Number(out.slice(end + 1)), body: out.slice(0, Math.max(end, 0)) };
};

/** Until it answers so; configuration takes a moment to reach a sidecar. */
export const answers = async (
  mesh: Mesh,
  from: string,
  wanted: Pick<Answer, 'status'> & Partial<Answer>,
  ...words: readonly string[]
): Promise<void> => {
  await eventually(`${from}: ${words.at(-1)} answers ${wanted.status}`, 10_000, async () => {
    const { status, body } = await call(mesh, from, ...words);
    if (status === wanted.status && (wanted.body === undefined || wanted.body === body)) return true;
    throw new Error(`it answers ${status} ${body.slice(0, 300)}`);
  });
};

/** Configuration that holds while `look` runs. */
export const whileTextApplied = async <T>(mesh: Mesh, text: string, look: () => Promise<T>): Promise<T> => {
  const done = await mesh.skeinWith({ input: text }, 'apply', '-f', '-');
  if (done.code !== 0) throw new Error(`apply: exit ${done.code} ${done.out}${done.err}`);
  try {
    return await look();
  } finally {
    await mesh.skeinWith({ input: text }, 'delete', '-f', '-');
  }
};
