// Which headers end at this hop (RFC 9110 7.6.1): those of the connection, and those the Connection header lists.
import type { HeaderBlock } from './header-block.ts';
import { H, NAME_ID_COUNT } from './header-name.ts';

/** Ids of hop-by-hop names, for `removeIds` and skip rules. `te` and `upgrade` have conditions and are not in it. */
export const HOP_BY_HOP = new Uint8Array(NAME_ID_COUNT);
for (const id of [H.CONNECTION, H.KEEP_ALIVE, H.PROXY_CONNECTION, H.TRANSFER_ENCODING, H.HTTP2_SETTINGS]) HOP_BY_HOP[id] = 1;

/** A skip rule of the given ids, on top of `base`. */
export const skipRule = (ids: readonly number[], base: Uint8Array = new Uint8Array(NAME_ID_COUNT)): Uint8Array => {
  const rule = Uint8Array.from(base);
  for (const id of ids) rule[id] = 1;
  return rule;
};

/**
 * Removes what must not be forwarded. `keepUpgrade` leaves `upgrade` in place (the caller writes `connection: upgrade`).
 * `te` stays only as `trailers`. End-to-end names a peer lists to have them removed (host, content-length, x-forwarded-*,
 * credentials) stay: removing them for it is an attack on the next hop.
 */
export const removeHopByHop = (headers: HeaderBlock, keepUpgrade: boolean): void => {
  if (headers.hasId(H.CONNECTION)) {
    for (const line of headers.values('connection')) {
      if (line === 'keep-alive' || line === 'close') continue;
      for (const raw of line.split(',')) {
        const name = raw.trim().toLowerCase();
        if (name !== '' && name !== 'te' && name !== 'upgrade' && !PROTECTED.has(name) && !name.startsWith('x-forwarded-'))
          headers.remove(name);
      }
    }
  }
  headers.removeIds(HOP_BY_HOP);
  if (!keepUpgrade) headers.removeById(H.UPGRADE);
  const te = headers.getById(H.TE);
  if (te === undefined || (te === 'trailers' && headers.countId(H.TE) === 1)) return;
  const trailers = headers.values('te').some((v) => v.split(',').some((t) => t.split(';')[0]?.trim().toLowerCase() === 'trailers'));
  if (trailers) headers.setById(H.TE, 'trailers');
  else headers.removeById(H.TE);
};

const PROTECTED: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-type',
  'authorization',
  'cookie',
  'set-cookie',
  'close',
  'keep-alive',
]);
