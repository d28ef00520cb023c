// Finds refused connections of a local mesh by the caller's address: in the access logs of the proxies, and in what sidecars told the control
// plane, which knows the caller's identity as well and needs no access log.
import type { LoggedRequest } from '../explain/access-line.ts';
import { AdminCallError, type AdminClient } from './admin-client.ts';
import { refusedConnections } from './request-log.ts';

/** One address may have been refused often: the newest. */
const NEWEST = 10;

interface Told {
  readonly atMs: number;
  readonly proxy: string;
  readonly source: { readonly principal: string };
  readonly remote: string;
  readonly local: string;
  readonly sni: string;
  readonly cluster: string;
  readonly details: string;
}

/** `remote`: `ADDRESS:PORT`, or an address for all its connections. Oldest first. */
export const connectionsFrom = async (logs: string, client: AdminClient, remote: string): Promise<readonly LoggedRequest[]> => {
  const told = await toldOf(client, remote);
  const logged = (await refusedConnections(logs, remote, NEWEST)).map((entry) => {
    const same = told.find((t) => t.proxy === entry.proxy && t.remote === entry.remote);
    return same === undefined || same.source.principal === '' ? entry : { ...entry, principal: same.source.principal };
  });
  const rest = told.filter((t) => !logged.some((l) => l.proxy === t.proxy && l.remote === t.remote)).map(asLogged);
  return [...logged, ...rest].sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)).slice(-NEWEST);
};

const toldOf = async (client: AdminClient, remote: string): Promise<readonly Told[]> => {
  try {
    const path = `/v1/telemetry/refused-connections?limit=${NEWEST}&remote=${encodeURIComponent(remote)}`;
    return (await client.json('GET', path)) as readonly Told[];
  } catch (error) {
    // Without telemetry there are the logs.
    if (error instanceof AdminCallError && error.status === 404) return [];
    throw error;
  }
};

const asLogged = ({ atMs, proxy, source, remote, local, sni, cluster, details }: Told): LoggedRequest => ({
  proxy,
  time: new Date(atMs).toISOString(),
  method: '',
  path: '',
  authority: '',
  code: 0,
  flags: [],
  details: '',
  termination: details,
  transportFailure: '',
  requestId: '',
  route: '',
  cluster,
  upstream: '',
  local,
  remote,
  sni,
  forwardedFor: '',
  userAgent: '',
  durationMs: 0,
  ...(source.principal === '' ? {} : { principal: source.principal }),
});
