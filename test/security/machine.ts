// What checks need of a machine, looked up once each.
import { spawnSync } from 'node:child_process';
import type { Need } from './check.ts';

const succeeds = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;
const isRoot = process.getuid?.() === 0;

const look: Readonly<Record<Exclude<Need, 'envoy' | 'time'>, () => string | undefined>> = {
  namespaces: () =>
    (isRoot ? succeeds('unshare', '--net', 'true') : succeeds('unshare', '--user', '--map-root-user', '--net', 'true'))
      ? undefined
      : 'this machine forbids network namespaces',
  root: () => (isRoot ? undefined : 'it needs root'),
  openssl: () => (succeeds('openssl', 'version') ? undefined : 'there is no openssl'),
};
const seen = new Map<Need, string | undefined>();

/** Why what is needed is not there; undefined when it is. */
export const missing = (need: Need, run: { readonly short: boolean; readonly envoy: string | undefined }): string | undefined => {
  if (need === 'time') return run.short ? 'it takes longer than the short form may' : undefined;
  if (need === 'envoy') return run.envoy === undefined ? 'there is no envoy binary (sh test/setup installs it)' : undefined;
  if (!seen.has(need)) seen.set(need, look[need]());
  return seen.get(need);
};
