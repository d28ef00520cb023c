// Requests of sidecars that cannot be tapped (stock Envoy): what their access logs have told the control plane, asked for again and again.
// Late by what the log waits, without headers, and a sample where a sidecar is busy: whoever shows them says so.
import type { AdminClient } from './admin-client.ts';
import { sleep } from './live-screen.ts';
import { isNamed } from './signals.ts';
import type { TappedRequest } from './tap-lines.ts';

/** What of a tap's match a recent request can be asked. */
export interface RecentMatch {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly path?: string | undefined;
  readonly pathPrefix?: string | undefined;
  readonly method?: string | undefined;
  readonly authority?: string | undefined;
  readonly direction?: 'inbound' | 'outbound' | undefined;
  readonly status?: readonly string[] | undefined;
  readonly minDurationMs?: number | undefined;
}

export type Recent = Omit<TappedRequest, 'side' | 'mtls' | 'grpcStatus' | 'upstream' | 'headers'> & { readonly reporter: string };

const EVERY_MS = 1000;
const LIMIT = 2000;
/** Told so much later than another is still new. */
const LATE_MS = 15_000;

/** Until `signal`. `proxies`: `NAME.NAMESPACE` of those whose requests count. Throws as AdminClient does. */
export const followRecent = async (
  admin: AdminClient,
  proxies: ReadonlySet<string>,
  match: RecentMatch,
  show: (request: Recent) => void,
  signal: AbortSignal,
): Promise<void> => {
  const beganMs = Date.now();
  const seen = new Map<string, number>();
  while (!signal.aborted) {
    const { requests } = (await admin.json('GET', `/v1/telemetry/requests?limit=${LIMIT}`)) as { readonly requests: readonly Recent[] };
    const now = Date.now();
    for (const request of requests.toSorted((a, b) => (a.at < b.at ? -1 : 1))) {
      const atMs = Date.parse(request.at);
      // It may have begun before.
      if (!proxies.has(request.proxy) || atMs + request.durationMs < Math.max(beganMs, now - LATE_MS)) continue;
      const key = [request.proxy, request.reporter, request.requestId, request.at, request.cluster].join(' ');
      if (seen.has(key)) continue;
      seen.set(key, now);
      if (isRecentMatch(request, match)) show(request);
    }
    for (const [key, atMs] of seen) if (atMs < now - 4 * LATE_MS) seen.delete(key);
    await sleep(EVERY_MS, signal);
  }
};

export const isRecentMatch = (r: Recent, m: RecentMatch): boolean => {
  if (m.direction !== undefined && (m.direction === 'inbound') !== (r.reporter === 'destination')) return false;
  if (m.path !== undefined && r.path.replace(/\?.*$/s, '') !== m.path) return false;
  if (m.pathPrefix !== undefined && !r.path.startsWith(m.pathPrefix)) return false;
  if (m.method !== undefined && r.method !== m.method.toUpperCase()) return false;
  if (m.authority !== undefined && r.authority.toLowerCase().replace(/:\d+$/, '') !== m.authority.toLowerCase().replace(/:\d+$/, ''))
    return false;
  if (m.minDurationMs !== undefined && r.durationMs < m.minDurationMs) return false;
  if (m.status?.every((s) => (s.endsWith('xx') ? Math.floor(r.status / 100) !== Number(s[0]) : r.status !== Number(s)))) return false;
  return (m.from === undefined || isNamed(r.source, m.from)) && (m.to === undefined || isNamed(r.destination, m.to));
};
