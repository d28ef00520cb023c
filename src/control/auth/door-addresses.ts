// Where the control plane is reached over a network: addresses of its doors, what of them is refused, and the certificate they show.
import { openServerIdentity, type ServerIdentity, type ServerIdentityOptions } from './server-identity.ts';

export const TLS_SCHEME = 'tls:';

export const isSecured = (address: string): boolean => address.startsWith(TLS_SCHEME);

const isLoopback = (host: string): boolean => host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);

/** Of `HOST:PORT` and `tls:HOST:PORT`. */
export const hostPort = (address: string): { readonly host: string; readonly port: number } => {
  const plain = isSecured(address) ? address.slice(TLS_SCHEME.length) : address;
  const colon = plain.lastIndexOf(':');
  return { host: plain.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(plain.slice(colon + 1)) };
};

/** What is wrong with an address of the admin API. */
export const adminPortProblem = (address: string): string | undefined => {
  const [, host = ''] = /^(?:tls:)?(.*):\d+$/.exec(address) ?? [];
  if (host === '') return `--admin-port ${address}: give HOST:PORT or tls:HOST:PORT`;
  return isSecured(address) || isLoopback(host)
    ? undefined
    : `--admin-port ${address} would send tokens in clear over a network: give tls:${address}, or an address of this machine`;
};

/** Undefined where no door needs one; an error where it cannot be made. */
export const doorIdentity = async (
  addresses: readonly string[],
  names: readonly string[],
  options: Omit<ServerIdentityOptions, 'names'>,
): Promise<ServerIdentity | undefined> => {
  const doors = addresses.filter(isSecured);
  if (doors.length === 0) return undefined;
  const called = [...names, ...doors.map((door) => hostPort(door).host)].filter((n) => n !== '0.0.0.0' && n !== '::');
  const made = await openServerIdentity({ ...options, names: called });
  if (!made) throw new DoorError(`${doors.join(' ')} needs a certificate of the mesh, and who signs here makes none for the control plane`);
  return made;
};

/** Something in the configuration of the process. */
export class DoorError extends Error {}
