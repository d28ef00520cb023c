// What the second hop agrees on with a client that offers everything, for the report: the peers are to be alike in protocol, cipher and curve.
import { fileURLToPath } from 'node:url';
import type { Contender } from './peers/contender.ts';
import { runCommand } from './run-command.ts';

const PROBE = fileURLToPath(new URL('load/tls-probe.ts', import.meta.url));

/** Adds the facts to the contender's note. */
export const noteTls = async (contender: Contender, signal: AbortSignal): Promise<void> => {
  const route = contender.route('inbound-tls');
  if (typeof route === 'string' || route.tls === undefined) return;
  const { cert, key, alpn, sni } = route.tls;
  const probe = [process.execPath, PROBE, route.host, String(route.port), cert, key, alpn, sni];
  const { stdout } = await runCommand([...route.via, ...probe], { signal, timeoutMs: 15_000 });
  contender.note += `; TLS of the second hop: ${stdout.trim()}`;
};
