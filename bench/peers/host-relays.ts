// What nginx, haproxy, Envoy and the bare Skein have in common: two processes on loopback, the first hop and the second, with one listener
// for each path.
import { join } from 'node:path';
import type { Path } from '../scenarios.ts';
import type { BackendPorts } from './backends.ts';
import type { Contender, Hop, Route } from './contender.ts';
import { logTail } from './log-tail.ts';
import { freePorts, type Processes, untilListening } from './processes.ts';

/** What a peer's configuration is made of. */
export interface RelayPorts {
  readonly oneHop: number;
  readonly twoHops: number;
  readonly twoHopsH2: number;
  readonly oneHopGrpc: number;
  readonly twoHopsTcp: number;
  /** The second hop's. */
  readonly tls: number;
  readonly tlsH2: number;
  readonly tlsTcp: number;
}

export interface RelayContext {
  readonly processes: Processes;
  /** A folder of this contender's own. */
  readonly dir: string;
  /** Holds ca.pem, leaf.pem, leaf-key.pem, both.pem. */
  readonly certificates: string;
  readonly backend: BackendPorts;
}

export interface Relay {
  readonly name: string;
  readonly note: string;
  /** Paths it cannot do, with the reason. */
  readonly cannot: Partial<Record<Path, string>>;
  /** Writes the configuration; answers the command lines of both hops. */
  configure(context: RelayContext, ports: RelayPorts): { readonly out: readonly string[]; readonly into: readonly string[] };
}

export const startRelay = async (relay: Relay, context: RelayContext): Promise<Contender> => {
  const [oneHop = 0, twoHops = 0, twoHopsH2 = 0, oneHopGrpc = 0, twoHopsTcp = 0, tls = 0, tlsH2 = 0, tlsTcp = 0] = await freePorts(8);
  const ports: RelayPorts = { oneHop, twoHops, twoHopsH2, oneHopGrpc, twoHopsTcp, tls, tlsH2, tlsTcp };
  const commands = relay.configure(context, ports);
  const logs = { out: join(context.dir, 'out.log'), into: join(context.dir, 'into.log') };
  const into = context.processes.start(commands.into, logs.into);
  const out = context.processes.start(commands.out, logs.out);
  const does = (path: Path, port: number): number[] => (relay.cannot[path] === undefined ? [port] : []);
  await untilListening(
    relay.name,
    [...does('inbound-tls', tls), ...does('two-hops-h2', tlsH2), ...does('two-hops-tcp', tlsTcp)],
    logs.into,
  );
  const first = [...does('one-hop', oneHop), ...does('two-hops', twoHops), ...does('two-hops-h2', twoHopsH2)];
  await untilListening(relay.name, [...first, ...does('one-hop-grpc', oneHopGrpc), ...does('two-hops-tcp', twoHopsTcp)], logs.out);
  const outHop: Hop = () => [out];
  const intoHop: Hop = () => [into];
  const at = (port: number, hops: readonly Hop[]): Route => ({ via: [], host: '127.0.0.1', port, hops });
  const routes: Record<Path, Route> = {
    'one-hop': at(oneHop, [outHop]),
    'two-hops': at(twoHops, [outHop, intoHop]),
    'two-hops-h2': at(twoHopsH2, [outHop, intoHop]),
    'one-hop-grpc': at(oneHopGrpc, [outHop]),
    'two-hops-tcp': at(twoHopsTcp, [outHop, intoHop]),
    'inbound-tls': {
      ...at(tls, [intoHop]),
      tls: {
        cert: join(context.certificates, 'leaf.pem'),
        key: join(context.certificates, 'leaf-key.pem'),
        alpn: 'http/1.1',
        sni: 'bench',
      },
    },
  };
  const lastWords = (): string => [logs.out, logs.into].map(logTail).filter(Boolean).join('\n');
  return { name: relay.name, note: relay.note, route: (path) => relay.cannot[path] ?? routes[path], lastWords, roots: () => [] };
};
