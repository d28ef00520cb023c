// Where a data plane meets what was asked for on demand: virtual hosts are told to those who wait for them, clusters and listeners when
// they are in use, and a connection waits for the listener of its address.

import type { Socket } from 'node:net';
import type { RouteConfiguration } from '../../xds/gen/types.ts';
import type { HostOutcome, HostUpdate, RouteTables } from '../exchange/route-table.ts';
import type { Demand } from './demand.ts';

/** What came is told to those who asked for it. */
export const updateHosts = (
  demand: Demand,
  tables: RouteTables,
  update: HostUpdate,
  check: (config: RouteConfiguration) => void,
): HostOutcome => {
  const outcome = tables.update(update, check);
  const bad = new Set(outcome.problems.map(([name]) => name));
  for (const name of [...update.removed, ...outcome.gone]) demand.settle('host', name, false);
  for (const { name, aliases } of update.set) if (!bad.has(name)) for (const n of [name, ...aliases]) demand.settle('host', n, true);
  return outcome;
};

/** Uses that are counted elsewhere: of virtual hosts by requests, of listeners by connections. */
export const tellUses = (
  demand: Demand,
  tables: RouteTables,
  listeners: Iterable<{ readonly name: string; readonly activeConnections: number }>,
): void => {
  for (const name of tables.takeUsed()) demand.use('host', name);
  for (const { name, activeConnections } of listeners) if (activeConnections > 0) demand.use('listener', name);
};

/** What has not been there and is now. */
export const settleDemand = (demand: Demand, isThere: { cluster(name: string): boolean; listener(name: string): boolean }): void => {
  for (const kind of ['cluster', 'listener'] as const)
    for (const name of [...demand.lacking(kind)]) if (isThere[kind](name)) demand.settle(kind, name, true);
};

/**
 * The connection waits for the listener `<address>_<port>`; nothing is read of it meanwhile. `begin` is called when it is there, or is
 * known not to be; not when the client has gone. False: it is known already that there is none.
 */
export const waitForListener = (
  demand: Demand,
  socket: Socket,
  { ip, port }: { readonly ip: string; readonly port: number },
  timeoutMs: number,
  begin: () => void,
): boolean => {
  const name = `${ip}_${port}`;
  if (demand.isAnswered('listener', name)) return false;
  const task = demand.ask('listener', name, timeoutMs, () => {
    socket.off('close', gone);
    if (!socket.destroyed) begin();
  });
  const gone = (): void => task.cancel();
  socket.once('close', gone);
  return true;
};
