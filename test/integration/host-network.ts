// What a mesh must not leave on the machine: links, routes, rules, named namespaces, nft and iptables tables, mounted namespaces.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { decodeAttributes, NLM_F_DUMP } from '../../src/agent/capture/netlink-message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/agent/capture/netlink-socket.ts';

/** One text that is the same before and after. */
export const hostNetwork = (): string =>
  [
    ...['link', 'route', 'rule', 'netns'].map((what) => `${what}:\n${ip(what)}`),
    `nft tables: ${nftTables().join(' ')}`,
    `iptables: ${['ip', 'ip6'].map((family) => read(`/proc/net/${family}_tables_names`).replaceAll('\n', ' ')).join(' ')}`,
    `mounted namespaces: ${read('/proc/self/mountinfo').match(/ - nsfs /g)?.length ?? 0}`,
  ].join('\n');

/** Processes that are in one of these network namespaces (as /proc names them). */
export const processesIn = (namespaces: ReadonlySet<string>): string[] =>
  readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && namespaces.has(networkNamespace(pid)));

/** Such as `net:[4026531840]`; empty when there is no such process. */
export const networkNamespace = (pid: string): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
};

const ip = (what: string): string => {
  const { stdout, error } = spawnSync('ip', ['-o', what], { encoding: 'utf8' });
  if (error) throw new Error(`"ip" is needed to look at the host's network: ${error.message}`);
  return stdout.replace(/ (mtu|qdisc|state|group|qlen) \S+/g, '');
};

const GET_TABLE = (10 << 8) | 1;
const TABLE_NAME = 1;

/** Asked of the kernel itself, as there may be no nft here. Only root is told. */
export const nftTables = (namespace?: string): string[] => {
  if (process.getuid?.() !== 0) return [];
  const socket = NetlinkSocket.open(NETLINK_NETFILTER, namespace);
  try {
    const replies = socket.transact([{ type: GET_TABLE, flags: NLM_F_DUMP, payload: new Uint8Array(4), what: 'list tables' }]);
    return replies.flatMap(({ payload }) => {
      const name = payload.length < 8 ? undefined : decodeAttributes(payload, 4).get(TABLE_NAME);
      return name === undefined ? [] : [Buffer.from(name).toString('utf8', 0, name.length - 1)];
    });
  } finally {
    socket.close();
  }
};

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
};
