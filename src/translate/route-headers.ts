// Header changes of a route or destination: removals, then `set` by name, then `add` by name. `:authority` and `host` are no headers
// but the rewritten host.

import type { HeaderOperations, Headers } from '../api/specs.ts';
import { compareText } from '../mesh/order.ts';
import type { HeaderValueOption } from '../xds/gen/types.ts';

export interface HeaderChanges {
  readonly request_headers_to_add?: readonly HeaderValueOption[];
  readonly request_headers_to_remove?: readonly string[];
  readonly response_headers_to_add?: readonly HeaderValueOption[];
  readonly response_headers_to_remove?: readonly string[];
}

export interface HeaderPlan {
  readonly changes: HeaderChanges;
  readonly authority: string | undefined;
}

const isAuthority = (name: string): boolean => name.toLowerCase() === ':authority' || name.toLowerCase() === 'host';

const sortedEntries = (map: Readonly<Record<string, string>> | undefined): readonly (readonly [string, string])[] =>
  Object.entries(map ?? {}).sort((a, b) => compareText(a[0], b[0]));

const options = (ops: HeaderOperations | undefined, isRequest: boolean): readonly HeaderValueOption[] => {
  const kept = ([name]: readonly [string, string]): boolean => !name.startsWith(':') && !(isRequest && isAuthority(name));
  return [
    ...sortedEntries(ops?.set)
      .filter(kept)
      .map(([key, value]): HeaderValueOption => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' })),
    ...sortedEntries(ops?.add)
      .filter(kept)
      .map(([key, value]): HeaderValueOption => ({ header: { key, value } })),
  ];
};

export const planHeaders = (headers: Headers | undefined): HeaderPlan => {
  const request = options(headers?.request, true);
  const response = options(headers?.response, false);
  const requestRemove = headers?.request?.remove ?? [];
  const responseRemove = headers?.response?.remove ?? [];
  const authority = [...sortedEntries(headers?.request?.set), ...sortedEntries(headers?.request?.add)].find(([name]) =>
    isAuthority(name),
  )?.[1];
  return {
    authority,
    changes: {
      ...(request.length === 0 ? {} : { request_headers_to_add: request }),
      ...(requestRemove.length === 0 ? {} : { request_headers_to_remove: requestRemove }),
      ...(response.length === 0 ? {} : { response_headers_to_add: response }),
      ...(responseRemove.length === 0 ? {} : { response_headers_to_remove: responseRemove }),
    },
  };
};

const joined = <T>(a: readonly T[] | undefined, b: readonly T[] | undefined): readonly T[] => [...(a ?? []), ...(b ?? [])];

/** The route's changes, then the only destination's. */
export const concatChanges = (route: HeaderChanges, destination: HeaderChanges): HeaderChanges => {
  const out: Record<string, readonly unknown[]> = {};
  for (const key of [
    'request_headers_to_add',
    'request_headers_to_remove',
    'response_headers_to_add',
    'response_headers_to_remove',
  ] as const) {
    const list = joined<unknown>(route[key], destination[key]);
    if (list.length > 0) out[key] = list;
  }
  return out as HeaderChanges;
};
