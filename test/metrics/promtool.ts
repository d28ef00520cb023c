// `promtool check metrics` over a page, and what of its findings is known: metrics whose names Istio, Envoy or istiod fixed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const KNOWN = readFileSync(new URL('./promtool-known.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => new RegExp(`^(?:${line})$`));

/** Undefined: there is no promtool here. Findings that are not known. */
export const unknownFindings = (page: string): readonly string[] | undefined => {
  const { error, status, stderr, stdout } = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8', timeout: 10_000 });
  if (error !== undefined) return undefined;
  const lines = `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
  if (status !== 0 && lines.length === 0) return [`promtool ended with ${status}`];
  return lines.filter((line) => !KNOWN.some((known) => known.test(line)));
};
