// Links, addresses, routes and rules of a local mesh, programmed over netlink: the hub's bridge and the workloads' ends. Runs inside the
// hub's network namespace (and, rootless, inside the user namespace that owns it); reaches a workload's by its holder's pid.

import { readFileSync, writeFileSync } from 'node:fs';
import { applyRulesets } from '../agent/capture/apply.ts';
import type { NetlinkRequest } from '../agent/capture/netlink-message.ts';
import { EEXIST, ESRCH, NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket } from '../agent/capture/netlink-socket.ts';
import { replaceChainBatch } from '../agent/capture/nftables.ts';
import { type CaptureOptions, captureProgram, DEFAULT_CAPTURE } from '../agent/capture/program.ts';
import {
  addAddress,
  addBridge,
  addRoute,
  addVeth,
  deleteLink,
  deleteRoute,
  linkIndexes,
  listLinks,
  setLinkUp,
} from '../agent/capture/route-messages.ts';
import type { Action, Chain, Match, Rule, Ruleset } from '../agent/capture/ruleset.ts';
import {
  APPLICATION_RANGE,
  BRIDGE,
  EGRESS_PORT,
  HUB_ADDRESS,
  MESHED_RANGE,
  VIRTUAL_RANGE,
  WORKLOAD_RANGE,
  type WorkloadAddress,
} from './addresses.ts';

/** One port of a virtual address and where its connections go, in turn. */
export interface VirtualPort {
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  readonly endpoints: readonly { readonly address: string; readonly port: number }[];
}

export interface Attachment extends WorkloadAddress {
  /** A process that holds the workload's network namespace. */
  readonly holder: number;
  /** Redirect its traffic to a sidecar. */
  readonly capture: boolean;
  /** What the workload's annotations ask of the redirection. */
  readonly captureOptions: Partial<CaptureOptions>;
}

// Fixed, so that workloads may keep it in their neighbour tables while ports come and go. Locally administered.
const BRIDGE_MAC = Uint8Array.of(0x02, 0x53, 0x6b, 0x00, 0x00, 0x01);
const LOOPBACK = 1;

/** Idempotent: a restarted hub process finds what the last one left. */
export const setUpHub = (): void => {
  const socket = NetlinkSocket.open(NETLINK_ROUTE);
  try {
    socket.transact([setLinkUp(LOOPBACK)]);
    tolerate(EEXIST, () => socket.transact([addBridge(BRIDGE, BRIDGE_MAC)]));
    const bridge = indexOf(socket, BRIDGE);
    socket.transact([setLinkUp(bridge), addAddress(bridge, `${HUB_ADDRESS}/16`)]);
    socket.transact([addRoute({ destination: APPLICATION_RANGE, device: bridge })]);
  } finally {
    socket.close();
  }
  setSwitch('/proc/sys/net/ipv4/ip_forward', '1');
  // Workloads outside the mesh must keep talking through the hub even when a shorter way exists.
  for (const device of ['all', 'default', BRIDGE]) trySwitch(`/proc/sys/net/ipv4/conf/${device}/send_redirects`, '0');
  // Where the host has loaded br_netfilter, frames between workloads would pass the hub's packet filter and connection tracking as well.
  for (const family of ['ip', 'ip6', 'arp']) trySwitch(`/proc/sys/net/bridge/bridge-nf-call-${family}tables`, '0');
  applyRulesets([hubRuleset()]);
};

/** Makes the workload's end: interface, addresses, routes, redirection. */
export const attachWorkload = (to: Attachment): void => {
  const namespace = `/proc/${to.holder}/ns/net`;
  const hub = NetlinkSocket.open(NETLINK_ROUTE);
  try {
    const old = indexes(hub).get(to.link);
    if (old !== undefined) tolerate(ESRCH, () => hub.transact([deleteLink(old)]));
    hub.transact([addVeth(to.link, indexOf(hub, BRIDGE), 'eth0', to.holder)]);
  } finally {
    hub.close();
  }
  const inside = NetlinkSocket.open(NETLINK_ROUTE, namespace);
  try {
    const device = indexOf(inside, 'eth0');
    for (const request of workloadRequests(device, to)) inside.transact([request]);
  } finally {
    inside.close();
  }
  if (to.capture) applyRulesets(captureProgram(localCapture(to)), { namespace });
};

/** Replaces where virtual addresses lead for workloads outside the mesh. */
export const setVirtualPorts = (ports: readonly VirtualPort[]): void => {
  const socket = NetlinkSocket.open(NETLINK_NETFILTER);
  try {
    socket.transact(replaceChainBatch('ipv4', servicesChain(ports)));
  } finally {
    socket.close();
  }
};

const localCapture = (to: Attachment): CaptureOptions => ({
  ...DEFAULT_CAPTURE,
  proxy: { kind: 'source', address: to.address },
  // Readiness probes come from the hub, as they come from the node in Kubernetes.
  excludeInboundSources: [HUB_ADDRESS],
  dns: { port: 15053, servers: 'all' },
  ipv6: hasIpv6(),
  ...(to.applicationSource === undefined ? {} : { sourceNat: { from: to.applicationSource, to: to.address } }),
  ...to.captureOptions,
});

const hasIpv6 = (): boolean => {
  try {
    return readFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', 'utf8').trim() !== '';
  } catch {
    return false;
  }
};

const workloadRequests = (device: number, to: Attachment): NetlinkRequest[] => {
  const source = to.applicationSource ?? to.address;
  const onLink = to.applicationSource !== undefined || inMeshedRange(to.address);
  const self = { destination: `${to.address}/32`, device, local: true };
  return [
    setLinkUp(LOOPBACK),
    addAddress(device, `${to.address}/32`),
    ...(to.applicationSource === undefined ? [] : [addAddress(device, `${to.applicationSource}/32`)]),
    setLinkUp(device),
    // A call of the application to its own address must not look like one of the sidecar.
    ...(to.applicationSource === undefined ? [] : [deleteRoute(self), addRoute({ ...self, preferredSource: to.applicationSource })]),
    addRoute({ destination: onLink ? MESHED_RANGE : `${HUB_ADDRESS}/32`, device, preferredSource: source }),
    addRoute({ destination: '0.0.0.0/0', device, gateway: HUB_ADDRESS, preferredSource: source }),
  ];
};

const inMeshedRange = (address: string): boolean => Number(address.split('.')[2]) < 128;

const indexes = (socket: NetlinkSocket): ReadonlyMap<string, number> => linkIndexes(socket.transact([listLinks()]));

const indexOf = (socket: NetlinkSocket, name: string): number => {
  const index = indexes(socket).get(name);
  if (index === undefined) throw new Error(`there is no interface ${name}`);
  return index;
};

const SERVICES = 'SERVICES';
const TCP: Match = { kind: 'protocol', protocol: 'tcp' };
const FROM_WORKLOAD: Match = { kind: 'in-interface', name: BRIDGE };
const to = (cidr: string): Match => ({ kind: 'destination', cidr });
const jump: Action = { kind: 'jump', chain: SERVICES };

// Virtual addresses become endpoints; connections to anywhere outside the mesh's ranges go to the relay to the host's network.
const hubRuleset = (): Ruleset => {
  const rules: Rule[] = [
    // Replies to a workload in the mesh would not come back through here: no route, and the caller hears so at once.
    { matches: [{ kind: 'source', cidr: MESHED_RANGE }, to(VIRTUAL_RANGE)], action: { kind: 'return' } },
    { matches: [to(VIRTUAL_RANGE)], action: jump },
    ...[VIRTUAL_RANGE, WORKLOAD_RANGE, APPLICATION_RANGE].map((range): Rule => ({ matches: [to(range)], action: { kind: 'return' } })),
    { matches: [FROM_WORKLOAD, TCP], action: { kind: 'redirect', port: EGRESS_PORT } },
  ];
  return {
    family: 'ipv4',
    chains: [
      { table: 'nat', name: 'PREROUTING', rules },
      { table: 'nat', name: 'OUTPUT', rules: [{ matches: [to(VIRTUAL_RANGE)], action: jump }] },
      servicesChain([]),
    ],
  };
};

// Each rule takes its share of what the rules before it left: 1/n, 1/(n-1), … 1.
const servicesChain = (ports: readonly VirtualPort[]): Chain => ({
  table: 'nat',
  name: SERVICES,
  rules: ports.flatMap(({ address, port, protocol, endpoints }) =>
    endpoints.map((endpoint, i): Rule => {
      const left = endpoints.length - i;
      const share: Match[] = left > 1 ? [{ kind: 'every', of: left }] : [];
      return {
        matches: [to(`${address}/32`), { kind: 'protocol', protocol }, { kind: 'destination-port', ports: [port] }, ...share],
        action: { kind: 'destination-nat', address: endpoint.address, port: endpoint.port },
      };
    }),
  ),
});

const tolerate = (errno: number, run: () => void): void => {
  try {
    run();
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errno !== errno) throw error;
  }
};

const setSwitch = (path: string, value: string): void => {
  if (readFileSync(path, 'utf8').trim() !== value) writeFileSync(path, value);
};

const trySwitch = (path: string, value: string): void => {
  try {
    setSwitch(path, value);
  } catch {
    // A kernel without the switch sends at worst a hint that /32 addresses ignore.
  }
};
