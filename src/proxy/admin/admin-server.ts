// The admin API's socket: HTTP on loopback TCP or a Unix socket. Also a second server that has nothing but the metrics
// (15090), safe to open to a scraper.
import type { Address } from '../../xds/gen/types.ts';
import { addressText } from '../connection-facts.ts';
import { ListeningSockets } from '../listener/listening-sockets.ts';
import { answerAdmin } from './admin-answer.ts';
import { type AdminContext, text } from './admin-context.ts';
import { type PageHandler, PagePort } from './page-port.ts';

export interface AdminServer {
  /** `ip:port` as bound, or the socket's path. */
  readonly address: string;
  /** Stops accepting; who is connected is answered. */
  release(): void;
  close(): Promise<void>;
}

/** Rejects when the address cannot be bound. */
export const startAdminServer = (context: AdminContext, address: Address, sockets = new ListeningSockets()): Promise<AdminServer> =>
  listen(address, sockets, async (request) => {
    try {
      return await answerAdmin(context, { ...request, pieces: true });
    } catch (e) {
      context.log.error('an admin request failed', { path: request.path, reason: String(e) });
      return text(`${e instanceof Error ? e.message : String(e)}\n`, 500);
    }
  });

/** `/stats/prometheus` and nothing else. */
export const startMetricsServer = (context: AdminContext, address: Address): Promise<AdminServer> =>
  listen(address, new ListeningSockets(), async (request) => {
    const { method, path } = request;
    const at = path.indexOf('?');
    const known = (at < 0 ? path : path.slice(0, at)) === '/stats/prometheus' && (method === 'GET' || method === 'HEAD');
    return known ? answerAdmin(context, { ...request, pieces: true }) : text('not found\n', 404);
  });

const listen = async (address: Address, sockets: ListeningSockets, handler: PageHandler): Promise<AdminServer> => {
  const path = address.pipe?.path;
  const { address: host = '127.0.0.1', port_value: port = 0 } = address.socket_address ?? {};
  const fd = sockets.take(
    path === undefined ? { kind: 'tcp', host, port, name: 'admin' } : { kind: 'unix', host: path, port: 0, name: 'admin' },
  );
  const pages = new PagePort(handler);
  const at = await pages.listen(fd);
  let released = false;
  const release = (): void => {
    if (released) return;
    released = true;
    sockets.closed(fd);
    pages.release();
  };
  const close = async (): Promise<void> => {
    const ended = pages.close();
    release();
    await ended;
  };
  const bound = at === null || typeof at === 'string' || path !== undefined ? (path ?? '') : addressText(at.address, at.port);
  return { address: bound, release, close };
};
