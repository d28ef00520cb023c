// The address of a listener or endpoint as Envoy writes it: an IP address and port, or the path of a Unix socket.

import type { Address } from '../xds/gen/types.ts';

const UNIX = 'unix://';

export const listenerAddress = (bind: string, port: number): Address =>
  bind.startsWith(UNIX) ? { pipe: { path: bind.slice(UNIX.length) } } : { socket_address: { address: bind, port_value: port } };
