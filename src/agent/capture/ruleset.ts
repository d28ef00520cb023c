// Packet rules as data: what netlink, nft and iptables-restore are all rendered from. One ruleset per address family, because
// REDIRECT chains of iptables are; table names are iptables' own.

import type { Family } from './address.ts';

export type Match =
  | { readonly kind: 'protocol'; readonly protocol: 'tcp' | 'udp' }
  | { readonly kind: 'destination-port'; readonly ports: readonly number[]; readonly not?: boolean }
  | { readonly kind: 'source-port'; readonly port: number }
  | { readonly kind: 'source'; readonly cidr: string; readonly not?: boolean }
  | { readonly kind: 'destination'; readonly cidr: string; readonly not?: boolean }
  | { readonly kind: 'in-interface'; readonly name: string }
  | { readonly kind: 'out-interface'; readonly name: string; readonly not?: boolean }
  | { readonly kind: 'user'; readonly id: string; readonly not?: boolean }
  | { readonly kind: 'group'; readonly id: string; readonly not?: boolean }
  | { readonly kind: 'invalid-state' }
  /** Every `of`-th packet that reaches the rule, in turn. */
  | { readonly kind: 'every'; readonly of: number };

export type Action =
  | { readonly kind: 'return' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'jump'; readonly chain: string }
  | { readonly kind: 'redirect'; readonly port: number }
  | { readonly kind: 'conntrack-zone'; readonly zone: number }
  | { readonly kind: 'source-nat'; readonly address: string }
  | { readonly kind: 'destination-nat'; readonly address: string; readonly port: number };

export interface Rule {
  readonly matches: readonly Match[];
  readonly action: Action;
}

export type TableName = 'raw' | 'mangle' | 'nat';
/** Built-in chains of iptables: where packets enter. */
export const BUILT_IN_CHAINS: ReadonlySet<string> = new Set(['PREROUTING', 'OUTPUT', 'POSTROUTING']);

export interface Chain {
  readonly table: TableName;
  readonly name: string;
  readonly rules: readonly Rule[];
}

export interface Ruleset {
  readonly family: Family;
  /** In the order that iptables-restore wants: own chains may stand before or after the built-in ones. */
  readonly chains: readonly Chain[];
}
