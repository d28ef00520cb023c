// A ruleset as one nf_tables netlink batch: the kernel takes all of it or nothing. Our chains live in a table of our own, `skein`, in
// the families ip and ip6; nothing of anybody else is read or changed. Pure bytes. Facts: linux/netfilter/nf_tables.h.

import { addressBytes, type Family, parseCidr, prefixMask } from './address.ts';
import {
  attribute,
  concat,
  cstring,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  nested,
  u8,
  u16be,
  u16le,
  u32be,
  u32le,
} from './netlink-message.ts';
import { type Action, BUILT_IN_CHAINS, type Chain, type Match, type Rule, type Ruleset, type TableName } from './ruleset.ts';

export const TABLE = 'skein';

const SUBSYSTEM = 10;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NEW_TABLE = 0;
const DELETE_TABLE = 2;
const NEW_CHAIN = 3;
const NEW_RULE = 6;
const DELETE_RULE = 8;

const FAMILY: Readonly<Record<Family, number>> = { ipv4: 2, ipv6: 10 };
const HOOK: Readonly<Record<string, number>> = { PREROUTING: 0, OUTPUT: 3, POSTROUTING: 4 };
const PRIORITY: Readonly<Record<TableName, number>> = { raw: -300, mangle: -150, nat: -100 };
const SOURCE_NAT_PRIORITY = 100;

const REGISTER_VERDICT = 0;
const REGISTER_1 = 1;
const REGISTER_2 = 2;
const META = { l4proto: 16, inName: 6, outName: 7, user: 10, group: 11 } as const;
const CT_STATE = 0;
const CT_ZONE = 17;
const INVALID_STATE_BIT = 1;
const VERDICT = { drop: 0, return: -5, jump: -3 } as const;

/** Creates or replaces our table: everything in it comes from these rulesets. */
export const replaceBatch = (rulesets: readonly Ruleset[]): NetlinkRequest[] =>
  batch(
    rulesets.flatMap((ruleset) => {
      const table = (type: number, what: string): NetlinkRequest => request(ruleset.family, type, NLM_F_CREATE, what, named(1, TABLE));
      // A table must exist to be deleted: create, delete, create leaves exactly ours and works the first time too.
      return [
        table(NEW_TABLE, 'create the table'),
        table(DELETE_TABLE, 'delete the old table'),
        table(NEW_TABLE, 'create the table'),
        ...chainRequests(ruleset),
      ];
    }),
  );

export const removeBatch = (families: readonly Family[]): NetlinkRequest[] =>
  batch(
    families.flatMap((family) => [
      request(family, NEW_TABLE, NLM_F_CREATE, 'create the table', named(1, TABLE)),
      request(family, DELETE_TABLE, 0, 'delete the table', named(1, TABLE)),
    ]),
  );

/** Swaps the rules of one chain of an existing table. */
export const replaceChainBatch = (family: Family, chain: Chain): NetlinkRequest[] =>
  batch([
    request(family, DELETE_RULE, 0, `empty ${chain.name}`, concat(named(1, TABLE), named(2, chainName(chain.table, chain.name)))),
    ...chain.rules.map((rule) => ruleRequest(family, chain, rule)),
  ]);

/** In nf_tables all chains share the table, so the iptables table becomes part of the name. */
export const chainName = (table: TableName, name: string): string => `${table}_${name}`;

const batch = (requests: readonly NetlinkRequest[]): NetlinkRequest[] => {
  const edge = (type: number): NetlinkRequest => ({ type, flags: 0, payload: concat(u8(0, 0), u16be(SUBSYSTEM)), what: 'nf_tables batch' });
  const last = requests.at(-1);
  const body = last === undefined ? [] : [...requests.slice(0, -1), { ...last, flags: last.flags | NLM_F_ACK }];
  return [edge(BATCH_BEGIN), ...body, edge(BATCH_END)];
};

const request = (family: Family, type: number, flags: number, what: string, attributes: Uint8Array): NetlinkRequest => ({
  type: (SUBSYSTEM << 8) | type,
  flags,
  payload: concat(u8(FAMILY[family], 0), u16be(0), attributes),
  what: `nf_tables ${family}: ${what}`,
});

const named = (type: number, name: string): Uint8Array => attribute(type, cstring(name));

// Chains first, then rules: a rule may jump to a chain that is listed later.
const chainRequests = ({ family, chains }: Ruleset): NetlinkRequest[] => [
  ...chains.map((chain) => request(family, NEW_CHAIN, NLM_F_CREATE, `chain ${chain.name}`, chainAttributes(chain))),
  ...chains.flatMap((chain) => chain.rules.map((rule) => ruleRequest(family, chain, rule))),
];

const chainAttributes = ({ table, name }: Chain): Uint8Array => {
  const names = concat(named(1, TABLE), named(3, chainName(table, name)));
  if (!BUILT_IN_CHAINS.has(name)) return names;
  const priority = table === 'nat' && name === 'POSTROUTING' ? SOURCE_NAT_PRIORITY : PRIORITY[table];
  const hook = nested(4, attribute(1, u32be(HOOK[name] ?? 0)), attribute(2, u32be(priority)));
  return concat(names, hook, named(7, table === 'nat' ? 'nat' : 'filter'));
};

const ruleRequest = (family: Family, chain: Chain, rule: Rule): NetlinkRequest => {
  const expressions = [...rule.matches.flatMap((m) => matchExpressions(family, m)), ...actionExpressions(family, chain.table, rule.action)];
  const list = nested(4, ...expressions.map((e) => nested(1, e)));
  const names = concat(named(1, TABLE), named(2, chainName(chain.table, chain.name)));
  return request(family, NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, `rule of ${chain.name}`, concat(names, list));
};

const expression = (name: string, ...attributes: readonly Uint8Array[]): Uint8Array => concat(named(1, name), nested(2, ...attributes));
const number = (type: number, value: number): Uint8Array => attribute(type, u32be(value));
const compare = (value: Uint8Array, not = false): Uint8Array =>
  expression('cmp', number(1, REGISTER_1), number(2, not ? 1 : 0), nested(3, attribute(1, value)));
const meta = (key: number): Uint8Array => expression('meta', number(1, REGISTER_1), number(2, key));
const payload = (base: number, offset: number, length: number): Uint8Array =>
  expression('payload', number(1, REGISTER_1), number(2, base), number(3, offset), number(4, length));
const immediate = (register: number, value: Uint8Array): Uint8Array =>
  expression('immediate', number(1, register), nested(2, attribute(1, value)));
const masked = (mask: Uint8Array): Uint8Array =>
  expression(
    'bitwise',
    number(1, REGISTER_1),
    number(2, REGISTER_1),
    number(3, mask.length),
    nested(4, attribute(1, mask)),
    nested(5, attribute(1, new Uint8Array(mask.length))),
  );
const verdict = (code: number, chain?: string): Uint8Array =>
  expression(
    'immediate',
    number(1, REGISTER_VERDICT),
    nested(2, nested(2, number(1, code), ...(chain === undefined ? [] : [named(2, chain)]))),
  );

const NETWORK = 1;
const TRANSPORT = 2;
const PROTOCOL = { tcp: 6, udp: 17 } as const;

const matchExpressions = (family: Family, match: Match): Uint8Array[] => {
  switch (match.kind) {
    case 'protocol':
      return [meta(META.l4proto), compare(u8(PROTOCOL[match.protocol]))];
    case 'destination-port':
      if (match.not !== true && match.ports.length !== 1) throw new Error('several ports match only when negated: write one rule each');
      return match.ports.flatMap((port) => [payload(TRANSPORT, 2, 2), compare(u16be(port), match.not)]);
    case 'source-port':
      return [payload(TRANSPORT, 0, 2), compare(u16be(match.port))];
    case 'source':
      return addressExpressions(family === 'ipv4' ? 12 : 8, match.cidr, match.not);
    case 'destination':
      return addressExpressions(family === 'ipv4' ? 16 : 24, match.cidr, match.not);
    case 'in-interface':
      return [meta(META.inName), compare(interfaceName(match.name))];
    case 'out-interface':
      return [meta(META.outName), compare(interfaceName(match.name), match.not)];
    case 'user':
      return [meta(META.user), compare(u32le(ownerId(match.id)), match.not)];
    case 'group':
      return [meta(META.group), compare(u32le(ownerId(match.id)), match.not)];
    case 'invalid-state':
      return [expression('ct', number(1, REGISTER_1), number(2, CT_STATE)), masked(u32le(INVALID_STATE_BIT)), compare(u32le(0), true)];
    case 'every':
      return [expression('numgen', number(1, REGISTER_1), number(2, match.of), number(3, 0)), compare(u32le(0))];
  }
};

const addressExpressions = (offset: number, text: string, not = false): Uint8Array[] => {
  const cidr = parseCidr(text);
  if (cidr.prefix === 0) return [];
  const load = payload(NETWORK, offset, cidr.bytes.length);
  const whole = cidr.prefix === cidr.bytes.length * 8;
  return [load, ...(whole ? [] : [masked(prefixMask(cidr.prefix, cidr.bytes.length))]), compare(cidr.bytes, not)];
};

const interfaceName = (name: string): Uint8Array => {
  const out = new Uint8Array(16);
  out.set(new TextEncoder().encode(name).subarray(0, 15));
  return out;
};

const ownerId = (id: string): number => {
  const value = Number(id);
  if (id === '' || !Number.isInteger(value)) throw new Error(`"${id}": only numeric user and group ids reach the kernel`);
  return value;
};

const actionExpressions = (family: Family, table: TableName, action: Action): Uint8Array[] => {
  switch (action.kind) {
    case 'return':
      return [verdict(VERDICT.return)];
    case 'drop':
      return [verdict(VERDICT.drop)];
    case 'jump':
      return [verdict(VERDICT.jump, chainName(table, action.chain))];
    case 'redirect':
      return [immediate(REGISTER_1, u16be(action.port)), expression('redir', number(1, REGISTER_1))];
    case 'conntrack-zone':
      return [immediate(REGISTER_1, u16le(action.zone)), expression('ct', number(2, CT_ZONE), number(4, REGISTER_1))];
    case 'source-nat':
      return [
        immediate(REGISTER_1, addressBytes(action.address)),
        expression('nat', number(1, 0), number(2, FAMILY[family]), number(3, REGISTER_1)),
      ];
    case 'destination-nat':
      return [
        immediate(REGISTER_1, addressBytes(action.address)),
        immediate(REGISTER_2, u16be(action.port)),
        expression('nat', number(1, 1), number(2, FAMILY[family]), number(3, REGISTER_1), number(5, REGISTER_2)),
      ];
  }
};
