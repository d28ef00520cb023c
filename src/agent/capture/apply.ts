// Brings rulesets into a network namespace: nf_tables over netlink first, because it needs no program; the iptables-restore or nft
// binaries only where the kernel refuses nf_tables. Touches nothing but what these rulesets name.

import { spawnSync } from 'node:child_process';
import type { Family } from './address.ts';
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from './netlink-socket.ts';
import { removeBatch, replaceBatch } from './nftables.ts';
import { renderIptables, renderIptablesRemoval } from './render-iptables.ts';
import { renderNft } from './render-nft.ts';
import type { Ruleset } from './ruleset.ts';

export type Backend = 'netlink' | 'nft' | 'iptables';

export interface ApplyTarget {
  /** Path of the network namespace; this process's own when absent. Only netlink can reach another one. */
  readonly namespace?: string;
  readonly backend?: Backend;
}

/** Returns what did it. Throws with every backend's refusal when none can. */
export const applyRulesets = (rulesets: readonly Ruleset[], target: ApplyTarget = {}): Backend =>
  firstThatWorks(target, {
    netlink: () => transact(target.namespace, () => replaceBatch(rulesets)),
    nft: () => command('nft', ['-f', '-'], renderNft(rulesets)),
    iptables: () => {
      for (const r of rulesets) {
        try {
          command(restorer(r.family), ['--noflush'], renderIptablesRemoval(r));
        } catch {
          // Nothing of ours was there.
        }
        command(restorer(r.family), ['--noflush'], renderIptables(r));
      }
    },
  });

export const removeRulesets = (rulesets: readonly Ruleset[], target: ApplyTarget = {}): Backend =>
  firstThatWorks(target, {
    netlink: () => transact(target.namespace, () => removeBatch(rulesets.map((r) => r.family))),
    nft: () => {
      const tables = rulesets.map((r) => `table ${r.family === 'ipv4' ? 'ip' : 'ip6'} skein\n`);
      command('nft', ['-f', '-'], tables.map((t) => `${t}delete ${t}`).join(''));
    },
    iptables: () => {
      for (const r of rulesets) command(restorer(r.family), ['--noflush'], renderIptablesRemoval(r));
    },
  });

const restorer = (family: Family): string => (family === 'ipv4' ? 'iptables-restore' : 'ip6tables-restore');

const transact = (namespace: string | undefined, batch: () => ReturnType<typeof replaceBatch>): void => {
  const socket = NetlinkSocket.open(NETLINK_NETFILTER, namespace);
  try {
    const replies = socket.transact(batch());
    if (!replies.some((r) => r.error === 0)) throw new Error('the kernel has no nf_tables (CONFIG_NF_TABLES)');
  } finally {
    socket.close();
  }
};

const firstThatWorks = (target: ApplyTarget, ways: Readonly<Record<Backend, () => void>>): Backend => {
  // A binary works in its own namespace: whoever wants another one enters it first.
  const order: readonly Backend[] =
    target.backend !== undefined ? [target.backend] : target.namespace !== undefined ? ['netlink'] : ['netlink', 'nft', 'iptables'];
  const refusals: string[] = [];
  for (const backend of order) {
    try {
      ways[backend]();
      return backend;
    } catch (error) {
      refusals.push(`${backend}: ${error instanceof Error ? error.message : String(error)}`);
      if (error instanceof NetlinkError && (error.errno === 1 || error.errno === 13)) break;
    }
  }
  throw new Error(`traffic redirection was refused (${refusals.join('; ')})`);
};

const command = (program: string, args: readonly string[], input: string): void => {
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const done = spawnSync(program, args, { input, encoding: 'utf8', env: { ...process.env, PATH: path } });
  if (done.error !== undefined) throw new Error(`${program} is not installed`);
  if (done.status !== 0) throw new Error(`${program}: ${done.stderr.trim()}`);
};
