// What an authorization server changes of a request that it allows, and of the response to it.

import { queryWith } from '../../plan/query-edit.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Mutations, Pair } from './ext-authz-decision.ts';
import type { FilterExchange } from './http-filter.ts';

/** Something of the request is to be changed, so that it may be routed otherwise. */
export const changesRequest = (m: Mutations): boolean =>
  m.set.length > 0 || m.add.length > 0 || m.append.length > 0 || m.remove.length > 0 || m.querySet.length > 0 || m.queryRemove.length > 0;

export const changesResponse = (m: Mutations): boolean =>
  m.responseAdd.length > 0 || m.responseSet.length > 0 || m.responseAddIfAbsent.length > 0 || m.responseOverwriteIfExists.length > 0;

export const applyToRequest = (m: Mutations, exchange: FilterExchange): void => {
  const headers = exchange.requestHeaders;
  for (const [name, value] of m.set) setField(exchange, name, value);
  for (const [name, value] of m.add) if (name !== 'host' && isOfAnybody(name)) headers.add(name, value);
  for (const [name, value] of m.append) {
    const before = headers.get(name);
    if (before !== undefined && isOfAnybody(name)) headers.set(name, `${before},${value}`);
  }
  // A request without them would be none.
  for (const name of m.remove) if (name !== 'host' && isOfAnybody(name)) headers.remove(name);
  if (m.querySet.length > 0 || m.queryRemove.length > 0) setPath(exchange, queryWith(exchange.path, m.querySet, m.queryRemove));
};

const setField = (exchange: FilterExchange, name: string, value: string): void => {
  if (name === ':path') setPath(exchange, value);
  else if (name === ':method') {
    exchange.method = value;
    exchange.info.method = value;
  } else if (name === ':authority' || name === 'host') {
    exchange.authority = value;
    exchange.info.authority = value;
  } else if (isOfAnybody(name)) exchange.requestHeaders.set(name, value);
};

/** What says where a message ends is of the message that it came with: another's would make its body the next request. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'connection', 'te', 'trailer', 'upgrade']);

/** Whether a server may say what is in this header of somebody else's message. */
export const isOfAnybody = (name: string): boolean => !name.startsWith(':') && !FRAMING.has(name);

const setPath = (exchange: FilterExchange, path: string): void => {
  exchange.path = path;
  exchange.info.path = path;
};

export const applyToResponse = (m: Mutations, headers: HeaderBlock): void => {
  for (const [name, value] of m.responseAdd) if (isOfAnybody(name)) headers.add(name, value);
  for (const [name, value] of m.responseSet) if (isOfAnybody(name)) headers.set(name, value);
  for (const [name, value] of m.responseAddIfAbsent) if (isOfAnybody(name) && !headers.has(name)) headers.add(name, value);
  for (const [name, value] of m.responseOverwriteIfExists) if (isOfAnybody(name) && headers.has(name)) headers.set(name, value);
};

const NAME = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const QUERY = /^[!-~]*$/;

/** The first name that no header may have; undefined: all are fine. */
export const badName = (pairs: readonly Pair[]): string | undefined => pairs.find(([name]) => !NAME.test(name))?.[0];

/** As Envoy's validate_mutations: every name and value that the server gives may stand where it is to stand. */
export const areValid = (m: Mutations): boolean =>
  [m.set, m.add, m.append, m.responseAdd, m.responseSet, m.responseAddIfAbsent, m.responseOverwriteIfExists].every(areValidHeaders) &&
  m.remove.every((name) => NAME.test(name)) &&
  m.querySet.every(([key, value]) => QUERY.test(key) && QUERY.test(value)) &&
  m.queryRemove.every((key) => QUERY.test(key));

export const areValidHeaders = (pairs: readonly Pair[]): boolean => pairs.every(([name, value]) => NAME.test(name) && VALUE.test(value));
