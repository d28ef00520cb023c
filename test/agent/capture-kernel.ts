// Runs in a network namespace of its own: applies rulesets, checks that connections go where they say, prints one JSON document.

import { connect, createServer, type Socket } from 'node:net';
import { applyRulesets, removeRulesets } from '../../src/agent/capture/apply.ts';
import { NetlinkSocket } from '../../src/agent/capture/netlink-socket.ts';
import { captureProgram, DEFAULT_CAPTURE } from '../../src/agent/capture/program.ts';
import { addAddress, addBridge, addRoute, linkIndexes, listLinks, setLinkUp } from '../../src/agent/capture/route-messages.ts';
import type { Ruleset } from '../../src/agent/capture/ruleset.ts';
import { kernelOriginalDestination } from '../../src/proxy/listener/original-destination.ts';

// An empty bridge is a device that leads nowhere: what is not redirected waits for an answer that never comes.
const links = NetlinkSocket.open(0);
links.transact([setLinkUp(1), addBridge('out0', Uint8Array.of(2, 0, 0, 0, 0, 1))]);
const device = linkIndexes(links.transact([listLinks()])).get('out0') ?? 0;
links.transact([setLinkUp(device), addAddress(device, '10.244.0.9/32'), addAddress(device, '10.245.0.9/32')]);
links.transact([addRoute({ destination: '0.0.0.0/0', device, preferredSource: '10.245.0.9' })]);
links.close();

const all = {
  ...DEFAULT_CAPTURE,
  dropInvalid: true,
  dns: { port: 15053, servers: ['10.0.0.53', 'fd00::53'] },
  excludeOwnerGroups: ['999'],
  ownerGroups: '*' as const,
};
const owner = captureProgram({
  ...all,
  virtualInterfaces: ['eth7'],
  excludeInterfaces: ['eth8'],
  excludeOutboundPorts: [25],
  outboundCidrs: ['10.0.0.0/8', 'fd00::/8'],
  ipv6: true,
});
const source = captureProgram({
  ...DEFAULT_CAPTURE,
  proxy: { kind: 'source', address: '10.244.0.9' },
  sourceNat: { from: '10.245.0.9', to: '10.244.0.9' },
});

const backend = applyRulesets(owner);
const again = applyRulesets(source);
const accepted = new Promise<Socket>((resolve) => {
  createServer((socket) => resolve(socket)).listen(15001, '0.0.0.0');
});
await new Promise((resolve) => setImmediate(resolve));
const attempt = (localAddress?: string): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect({ host: '10.1.2.3', port: 4321, ...(localAddress === undefined ? {} : { localAddress }) });
    const timer = setTimeout(() => socket.destroy(new Error('timeout')), 400);
    socket.on('connect', () => {
      clearTimeout(timer);
      resolve('connected');
      socket.destroy();
    });
    socket.on('error', () => resolve('left alone'));
  });
const first = await attempt();
const redirected = first === 'connected' ? kernelOriginalDestination.of(await accepted) : undefined;
const fromProxyAddress = await attempt('10.244.0.9');

const broken: Ruleset = {
  family: 'ipv4',
  chains: [{ table: 'nat', name: 'OUTPUT', rules: [{ matches: [], action: { kind: 'jump', chain: 'NOWHERE' } }] }],
};
let badRule = 'taken';
try {
  applyRulesets([broken], { backend: 'netlink' });
} catch {
  badRule = 'refused whole';
}
const stillRedirected = (await attempt()) === 'connected';
removeRulesets(source);
const removed = await attempt();
console.log(JSON.stringify({ backend, again, redirected, fromProxyAddress, removed, badRule, stillRedirected }));
process.exit(0);
