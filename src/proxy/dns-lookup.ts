// Name resolution for STRICT_DNS and LOGICAL_DNS clusters, behind an interface so that tests and the agent's own table can stand in.

import { lookup } from 'node:dns';

export interface DnsLookup {
  /** All addresses of `name`; `family` 0 is both. `done` is called exactly once, never before this returns. */
  resolve(name: string, family: 0 | 4 | 6, done: (problem: Error | undefined, addresses: readonly string[]) => void): void;
}

export const systemDns: DnsLookup = {
  resolve: (name, family, done) => {
    lookup(name, { all: true, family, verbatim: true }, (problem, found) => {
      if (problem) done(problem, []);
      else
        done(
          undefined,
          found.map((entry) => entry.address),
        );
    });
  },
};
