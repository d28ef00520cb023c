// rtnetlink requests: links, addresses, routes. Pure bytes; facts: linux/rtnetlink.h, linux/if_link.h.

import { addressBytes, parseCidr } from './address.ts';
import {
  attribute,
  concat,
  cstring,
  decodeAttributes,
  type NetlinkReply,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  nested,
  u8,
  u16le,
  u32le,
} from './netlink-message.ts';

const NEW_LINK = 16;
const DELETE_LINK = 17;
const GET_LINK = 18;
const NEW_ADDRESS = 20;
const NEW_ROUTE = 24;
const DELETE_ROUTE = 25;
const AF_INET = 2;
const AF_INET6 = 10;
const UP = 1;
const IFLA = { address: 1, name: 3, mtu: 4, master: 10, info: 18, namespacePid: 19 } as const;
const RTA = { destination: 1, device: 4, gateway: 5, preferredSource: 7 } as const;
const TABLE_MAIN = 254;
const TABLE_LOCAL = 255;

const CREATE = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;

const linkHeader = (index = 0, flags = 0, change = 0): Uint8Array => concat(u8(0, 0), u16le(0), u32le(index), u32le(flags), u32le(change));

export const listLinks = (): NetlinkRequest => ({ type: GET_LINK, flags: NLM_F_DUMP, payload: linkHeader(), what: 'list links' });

/** Link names to their indexes, from the replies of `listLinks`. */
export const linkIndexes = (replies: readonly NetlinkReply[]): ReadonlyMap<string, number> => {
  const found = new Map<string, number>();
  for (const reply of replies) {
    if (reply.type !== NEW_LINK || reply.payload.length < 16) continue;
    const name = decodeAttributes(reply.payload, 16).get(IFLA.name);
    const index = new DataView(reply.payload.buffer, reply.payload.byteOffset).getInt32(4, true);
    if (name !== undefined) found.set(new TextDecoder().decode(name).replaceAll('\0', ''), index);
  }
  return found;
};

export const addBridge = (name: string, mac: Uint8Array): NetlinkRequest => ({
  type: NEW_LINK,
  flags: CREATE,
  payload: concat(
    linkHeader(),
    attribute(IFLA.name, cstring(name)),
    attribute(IFLA.address, mac),
    nested(IFLA.info, attribute(1, cstring('bridge'))),
  ),
  what: `add bridge ${name}`,
});

/** A pair: `name` here, enslaved to `master`; `peer` in the network namespace of the process `peerPid`. */
export const addVeth = (name: string, master: number, peer: string, peerPid: number): NetlinkRequest => ({
  type: NEW_LINK,
  flags: CREATE,
  payload: concat(
    linkHeader(0, UP, UP),
    attribute(IFLA.name, cstring(name)),
    attribute(IFLA.master, u32le(master)),
    nested(
      IFLA.info,
      attribute(1, cstring('veth')),
      nested(2, nested(1, linkHeader(), attribute(IFLA.name, cstring(peer)), attribute(IFLA.namespacePid, u32le(peerPid)))),
    ),
  ),
  what: `add veth ${name}`,
});

export const deleteLink = (index: number): NetlinkRequest => ({
  type: DELETE_LINK,
  flags: NLM_F_ACK,
  payload: linkHeader(index),
  what: `delete link ${index}`,
});

export const setLinkUp = (index: number): NetlinkRequest => ({
  type: NEW_LINK,
  flags: NLM_F_ACK,
  payload: linkHeader(index, UP, UP),
  what: `set link ${index} up`,
});

/** `cidr` keeps its host bits: 10.244.0.1/16. */
export const addAddress = (index: number, cidr: string): NetlinkRequest => {
  const [ip = '', prefix] = cidr.split('/');
  const bytes = addressBytes(ip);
  return {
    type: NEW_ADDRESS,
    flags: NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK,
    payload: concat(
      u8(bytes.length === 4 ? AF_INET : AF_INET6, prefix === undefined ? bytes.length * 8 : Number(prefix), 0, 0),
      u32le(index),
      attribute(1, bytes),
      attribute(2, bytes),
    ),
    what: `add address ${cidr}`,
  };
};

export interface Route {
  /** `0.0.0.0/0` is the default route. */
  readonly destination: string;
  readonly device: number;
  readonly gateway?: string;
  readonly preferredSource?: string;
  /** An address of this machine, in the table `local`. */
  readonly local?: boolean;
}

export const addRoute = (route: Route): NetlinkRequest => routeRequest(NEW_ROUTE, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, route, 'add');
export const deleteRoute = (route: Route): NetlinkRequest => routeRequest(DELETE_ROUTE, NLM_F_ACK, route, 'delete');

const routeRequest = (type: number, flags: number, route: Route, verb: string): NetlinkRequest => {
  const cidr = parseCidr(route.destination);
  const table = route.local === true ? TABLE_LOCAL : TABLE_MAIN;
  const scope = route.local === true ? 254 : route.gateway === undefined ? 253 : 0;
  return {
    type,
    flags,
    payload: concat(
      u8(
        cidr.family === 'ipv4' ? AF_INET : AF_INET6,
        cidr.prefix,
        0,
        0,
        table,
        route.local === true ? 2 : 4,
        scope,
        route.local === true ? 2 : 1,
      ),
      u32le(0),
      ...(cidr.prefix === 0 ? [] : [attribute(RTA.destination, cidr.bytes)]),
      attribute(RTA.device, u32le(route.device)),
      ...(route.gateway === undefined ? [] : [attribute(RTA.gateway, addressBytes(route.gateway))]),
      ...(route.preferredSource === undefined ? [] : [attribute(RTA.preferredSource, addressBytes(route.preferredSource))]),
    ),
    what: `${verb} route ${route.destination}`,
  };
};
