// Envoy's choice of a filter chain, after the rules in the corpora's description.

import { inRange } from '../../../src/mesh/cidr.ts';
import type { FilterChain, Listener } from '../../../src/xds/gen/types.ts';

/** What Envoy knows of a connection. */
interface Facts {
  readonly port: number;
  readonly address: string;
  readonly transport: string;
  readonly alpn: string;
  readonly sni: string;
}

/** Each step keeps the best of the chains that match; if none does, those without the condition. */
const sieve = (
  chains: readonly FilterChain[],
  has: (c: FilterChain) => boolean,
  score: (c: FilterChain) => number,
): readonly FilterChain[] => {
  const scored = chains.filter(has).map((c) => ({ c, s: score(c) }));
  const best = Math.max(-1, ...scored.map((x) => x.s));
  return best >= 0 ? scored.filter((x) => x.s === best).map((x) => x.c) : chains.filter((c) => !has(c));
};

export const chooseChain = (l: Listener, f: Facts): FilterChain | string => {
  let chains: readonly FilterChain[] = l.filter_chains ?? [];
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.destination_port ?? 0) !== 0,
    (c) => (c.filter_chain_match?.destination_port === f.port ? 1 : -1),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.prefix_ranges ?? []).length > 0,
    (c) =>
      Math.max(
        -1,
        ...(c.filter_chain_match?.prefix_ranges ?? []).map((r) =>
          inRange(f.address, `${r.address_prefix}/${r.prefix_len}`) ? (r.prefix_len ?? 0) : -1,
        ),
      ),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.server_names ?? []).length > 0,
    (c) => Math.max(-1, ...(c.filter_chain_match?.server_names ?? []).map((n) => sniScore(n, f.sni))),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.transport_protocol ?? '') !== '',
    (c) => (c.filter_chain_match?.transport_protocol === f.transport ? 1 : -1),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.application_protocols ?? []).length > 0,
    (c) => ((c.filter_chain_match?.application_protocols ?? []).includes(f.alpn) ? 1 : -1),
  );
  if (chains.length > 1) return 'multiple filter chains matched';
  return chains[0] ?? l.default_filter_chain ?? 'no filter chains matched';
};

const sniScore = (name: string, sni: string): number => {
  if (name === sni) return 1000;
  return name.startsWith('*.') && sni.endsWith(name.slice(1)) ? name.length : -1;
};
