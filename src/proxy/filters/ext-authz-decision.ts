// What an authorization server answers, in one form for both of its protocols: allowed with changes to the request and its response,
// denied with an answer, or no decision. Pure; values are texts of one byte per character, as header blocks keep them.

import type { HeaderBlock } from '../../wire/header-block.ts';
import { removeHopByHop } from '../../wire/hop-by-hop.ts';
import { enumDescriptor } from '../../xds/descriptor.ts';
import type { CheckResponse, HeaderValueOption, JsonObject, OkHttpResponse, StatusCode } from '../../xds/gen/types.ts';

export type Pair = readonly [name: string, value: string];

export interface Mutations {
  readonly set: readonly Pair[];
  /** As one more line. */
  readonly add: readonly Pair[];
  /** To the value that is there; nothing where none is. */
  readonly append: readonly Pair[];
  readonly remove: readonly string[];
  readonly querySet: readonly Pair[];
  readonly queryRemove: readonly string[];
  readonly responseAdd: readonly Pair[];
  readonly responseSet: readonly Pair[];
  readonly responseAddIfAbsent: readonly Pair[];
  readonly responseOverwriteIfExists: readonly Pair[];
}

export type AuthzDecision =
  | { readonly kind: 'allowed'; readonly mutations: Mutations; readonly metadata: JsonObject | undefined }
  | {
      readonly kind: 'denied';
      readonly status: number;
      readonly body: string;
      readonly headers: readonly Pair[];
      readonly metadata: JsonObject | undefined;
    }
  | { readonly kind: 'error'; readonly why: string };

const NONE: readonly Pair[] = [];
const UNCHANGED: Mutations = {
  set: NONE,
  add: NONE,
  append: NONE,
  remove: [],
  querySet: NONE,
  queryRemove: [],
  responseAdd: NONE,
  responseSet: NONE,
  responseAddIfAbsent: NONE,
  responseOverwriteIfExists: NONE,
};

// --- gRPC ---

export const decisionOfCheck = (response: CheckResponse): AuthzDecision => {
  const metadata = response.dynamic_metadata ?? response.ok_response?.dynamic_metadata;
  if ((response.status?.code ?? 0) === 0) {
    const ok = response.ok_response;
    return { kind: 'allowed', mutations: ok === undefined ? UNCHANGED : mutationsOf(ok), metadata };
  }
  const denied = response.denied_response;
  return {
    kind: 'denied',
    status: statusOf(denied?.status?.code),
    body: denied?.body ?? '',
    // As Envoy: what is to be appended to nothing is nothing.
    headers: (denied?.headers ?? []).filter((option) => option.append !== true).map(pairOf),
    metadata,
  };
};

const mutationsOf = (ok: OkHttpResponse): Mutations => {
  const headers = ok.headers ?? [];
  const response = ok.response_headers_to_add ?? [];
  const by = (action: string): Pair[] => response.filter((option) => actionOf(option) === action).map(pairOf);
  return {
    // As Envoy: of a request's headers the newer append_action is not read.
    set: headers.filter((option) => option.append !== true).map(pairOf),
    add: NONE,
    append: headers.filter((option) => option.append === true).map(pairOf),
    remove: (ok.headers_to_remove ?? []).map((name) => name.toLowerCase()),
    querySet: (ok.query_parameters_to_set ?? []).map(({ key, value }) => [key ?? '', value ?? '']),
    queryRemove: ok.query_parameters_to_remove ?? [],
    responseAdd: by('APPEND_IF_EXISTS_OR_ADD'),
    responseSet: by('OVERWRITE_IF_EXISTS_OR_ADD'),
    responseAddIfAbsent: by('ADD_IF_ABSENT'),
    responseOverwriteIfExists: by('OVERWRITE_IF_EXISTS'),
  };
};

const actionOf = (option: HeaderValueOption): string =>
  option.append === undefined
    ? String(option.append_action ?? 'APPEND_IF_EXISTS_OR_ADD')
    : option.append
      ? 'APPEND_IF_EXISTS_OR_ADD'
      : 'OVERWRITE_IF_EXISTS_OR_ADD';

const pairOf = ({ header }: HeaderValueOption): Pair => {
  const raw = header?.raw_value;
  const value = raw !== undefined && raw.length > 0 ? Buffer.from(raw) : Buffer.from(header?.value ?? '');
  return [(header?.key ?? '').toLowerCase(), value.toString('latin1')];
};

/** 0, which is no status, stands for the usual one; so does one that ends no request: what came behind it would be taken for more. */
export const statusOf = (code: StatusCode | undefined): number => {
  const number = typeof code === 'number' ? code : enumDescriptor('envoy.type.v3.StatusCode').byName.get(code ?? 'Empty');
  return number === undefined || number < 200 ? 403 : number;
};

// --- HTTP ---

export type NameMatch = (name: string) => boolean;

/** Which headers of an authorization server's HTTP answer go where. */
export interface AnswerRules {
  readonly upstream: NameMatch;
  readonly upstreamAppend: NameMatch;
  readonly clientOnSuccess: NameMatch;
  readonly client: NameMatch;
  readonly metadata: NameMatch;
}

const REMOVE_LIST = 'x-envoy-auth-headers-to-remove';

export const decisionOfAnswer = (status: number, headers: HeaderBlock, body: Buffer, rules: AnswerRules): AuthzDecision => {
  if (status < 200 || status >= 500) return { kind: 'error', why: `HTTP status ${status}` };
  const remove = headers
    .values(REMOVE_LIST)
    .flatMap((line) => line.split(','))
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  headers.remove(REMOVE_LIST);
  removeHopByHop(headers, false);
  const all = headers.entries();
  const facts = all.filter(([name]) => rules.metadata(name));
  const metadata = facts.length === 0 ? undefined : Object.fromEntries(facts);
  if (status !== 200) {
    // The body may be told in another way: its length is made anew.
    const told = all.filter(([name]) => rules.client(name) && name !== 'content-length');
    return { kind: 'denied', status, body: body.toString('utf8'), headers: told, metadata };
  }
  return {
    kind: 'allowed',
    mutations: {
      ...UNCHANGED,
      set: all.filter(([name]) => rules.upstream(name)),
      add: all.filter(([name]) => rules.upstreamAppend(name)),
      remove,
      responseAdd: all.filter(([name]) => rules.clientOnSuccess(name)),
    },
    metadata,
  };
};
