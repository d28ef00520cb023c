// Name resolution for STRICT_DNS and LOGICAL_DNS clusters, behind an interface so that tests and the agent's own table can stand in.

import { lookup, Resolver } from 'node:dns';

export interface DnsQuestion {
  readonly name: string;
  /** 0 is both. */
  readonly family: 0 | 4 | 6;
  /** How long the answer holds is asked too. */
  readonly wantTtl: boolean;
  /** `ip` or `ip:port`; empty: those of the system. */
  readonly servers: readonly string[];
}

/** `ttlMs` undefined: not known. A name that has no address is an answer without addresses; a problem is that nobody could say. */
export type DnsAnswer = (problem: Error | undefined, addresses: readonly string[], ttlMs: number | undefined) => void;

export interface DnsLookup {
  /** `done` is called exactly once, never before this returns. */
  resolve(question: DnsQuestion, done: DnsAnswer): void;
}

const NO_ADDRESS: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA']);
const noAddress = (problem: NodeJS.ErrnoException): boolean => NO_ADDRESS.has(problem.code ?? '');

const bySystem = (question: DnsQuestion, done: DnsAnswer): void => {
  lookup(question.name, { all: true, family: question.family, verbatim: true }, (problem, found) => {
    if (problem === null) {
      const addresses = found.map((entry) => entry.address);
      done(undefined, addresses, undefined);
    } else done(noAddress(problem) ? undefined : problem, [], undefined);
  });
};

/** Asks DNS itself, both families side by side. A name of the hosts file has no time to live and is left to the system. */
const byServers = (question: DnsQuestion, done: DnsAnswer): void => {
  const resolver = new Resolver();
  if (question.servers.length > 0) resolver.setServers([...question.servers]);
  const addresses: string[] = [];
  let ttl = Number.POSITIVE_INFINITY;
  let failure: Error | undefined;
  let left = question.family === 0 ? 2 : 1;
  const answered = (problem: NodeJS.ErrnoException | null, found: readonly { address: string; ttl: number }[]): void => {
    if (problem !== null && !noAddress(problem)) failure = problem;
    for (const record of problem === null ? found : []) {
      addresses.push(record.address);
      ttl = Math.min(ttl, record.ttl);
    }
    if (--left > 0) return;
    if (addresses.length > 0) done(undefined, addresses, ttl * 1000);
    else if (question.servers.length === 0) bySystem(question, done);
    else done(failure, [], undefined);
  };
  if (question.family !== 4) resolver.resolve6(question.name, { ttl: true }, answered);
  if (question.family !== 6) resolver.resolve4(question.name, { ttl: true }, answered);
};

export const systemDns: DnsLookup = {
  resolve: (question, done) => (question.wantTtl || question.servers.length > 0 ? byServers(question, done) : bySystem(question, done)),
};
