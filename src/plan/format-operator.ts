// Envoy's command operators: each compiled, with its argument, to a function of one exchange. A value keeps its type
// (number, string, object); undefined is Envoy's "not set". Tables of the simple ones live in format-fields.ts.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H, nameId } from '../wire/header-name.ts';
import type { JsonObject, JsonValue, Metadata } from '../xds/gen/types.ts';
import { celJson, celText } from './cel/attributes.ts';
import { compileCelOperand } from './cel/compile.ts';
import {
  ADDRESS_OPERATORS,
  CERTIFICATE_OPERATORS,
  DURATION_POINTS,
  elapsed,
  NETWORK_OPERATORS,
  PLAIN_OPERATORS,
  withoutPort,
} from './format-fields.ts';
import { PlanError } from './plan-error.ts';
import { queryParameter, withoutQuery } from './query.ts';
import { maskedAddress } from './rate-limit/masked-address.ts';
import { isGrpcType } from './route-criteria.ts';
import type { ProcessFacts, StreamInfo } from './stream-info.ts';
import { compileTimeFormat } from './time-format.ts';

export type OperatorValue = JsonValue | undefined;
export interface Operator {
  (info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock): OperatorValue;
  /** Set when the value is nothing but a header's: 0 request, 1 response, 2 trailers; and the name's id. */
  readonly header?: { readonly which: Which; readonly id: number };
  /** What it is in a text, where that is not the value as JSON. */
  readonly inText?: Operator;
}

/** Where no facts are given, those that the exchange brings are read. */
const PROCESS_OPERATORS: Readonly<Record<string, (process: ProcessFacts | undefined, argument: string, path: string) => Operator>> = {
  HOSTNAME: (process) => (info) => (process ?? info.process)?.hostname || undefined,
  ENVIRONMENT: (process, argument, path) => {
    if (argument === '') throw new PlanError(path, 'a variable name is required');
    // As Envoy, also where others have no value.
    return (info) => (process ?? info.process)?.environment[argument] ?? '-';
  },
  FILTER_STATE: (process, argument, path) =>
    filterStateOperator((key, info) => process?.stateOf?.(key, info) ?? info.filterState[key], argument, path),
  CEL: (process, argument, path) => {
    const value = celOperand(process, argument, path);
    return (info, request, response, trailers) => {
      const found = value({ info, request, response, trailers });
      return found === undefined ? undefined : celText(found);
    };
  },
  TYPED_CEL: (process, argument, path) => {
    const value = celOperand(process, argument, path);
    const typed: Operator = (info, request, response, trailers) => celJson(value({ info, request, response, trailers }));
    const inText: Operator = (info, request, response, trailers) => {
      const found = value({ info, request, response, trailers });
      return found === undefined ? undefined : celText(found);
    };
    return Object.assign(typed, { inText });
  },
  COALESCE: (process, argument, path) => coalesceOperator(process, argument, path, 0),
};
const celOperand = (process: ProcessFacts | undefined, argument: string, path: string) => {
  if (argument === '') throw new PlanError(path, 'an expression is required');
  return compileCelOperand(argument, path, process?.direction === undefined ? undefined : process);
};

/** `%NAME(argument):max%` without the percent signs. `argument` undefined: no parentheses. */
export const compileOperator = (
  name: string,
  argument: string | undefined,
  max: number | undefined,
  path: string,
  process?: ProcessFacts,
): Operator => {
  const ofProcess = PROCESS_OPERATORS[name];
  if (max !== undefined && !WITH_LENGTH.has(name)) throw new PlanError(path, `operator %${name}% takes no length`);
  if (ofProcess !== undefined) return truncated(ofProcess(process, argument ?? '', path), max);
  const withArgument = ARGUMENT_OPERATORS[name];
  if (withArgument !== undefined) return truncated(withArgument(argument ?? '', path, name), max);
  const address = NETWORK_OPERATORS[name];
  if (address !== undefined && argument !== undefined && argument !== '') return networkOperator(address, argument);
  const plain = PLAIN_OPERATORS[name] ?? ADDRESS_OPERATORS[name] ?? CERTIFICATE_OPERATORS[name];
  if (plain === undefined) throw new PlanError(path, `operator %${name}% is not known`);
  if (argument !== undefined && argument !== '') throw new PlanError(path, `operator %${name}% takes no argument`);
  return truncated(plain, max);
};

/** Those whose value may be cut, as in Envoy. */
const WITH_LENGTH: ReadonlySet<string> = new Set([
  ...['REQ', 'RESP', 'TRAILER', 'REQUEST_HEADER', 'RESPONSE_HEADER', 'RESPONSE_TRAILER', 'REQ_WITHOUT_QUERY', 'PATH', 'QUERY_PARAM'],
  ...['QUERY_PARAMS', 'DYNAMIC_METADATA', 'METADATA', 'FILTER_STATE', 'UPSTREAM_FILTER_STATE', 'PER_REQUEST_STATE', 'ENVIRONMENT'],
  ...['CEL', 'TYPED_CEL', 'COALESCE'],
]);

/** Texts are cut, and objects where they are texts. */
const truncated = (operator: Operator, max: number | undefined): Operator => {
  if (max === undefined) return operator;
  const cut: Operator = (info, req, resp, trailers) => {
    const value = operator(info, req, resp, trailers);
    return typeof value === 'string' && value.length > max ? value.slice(0, max) : value;
  };
  const whole = operator.inText ?? operator;
  const inText: Operator = (info, req, resp, trailers) => {
    const value = whole(info, req, resp, trailers);
    const text = typeof value === 'object' && value !== null ? sortedJson(value) : value;
    return typeof text === 'string' ? text.slice(0, max) : text;
  };
  return Object.assign(cut, { inText });
};

/** With the keys of objects in their order, as Envoy prints them. */
export const sortedJson = (value: JsonValue): string =>
  JSON.stringify(value, (_, inner: JsonValue) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

/** An address cut down to the network of so many bits. */
const networkOperator = (address: (info: StreamInfo) => string, argument: string): Operator => {
  // As Envoy: what is no number changes nothing, and what is below nothing leaves nothing.
  if (/^-\d+$/.test(argument)) return (info) => (address(info) === '' ? undefined : '');
  if (!/^\d+$/.test(argument)) return (info) => withoutPort(address(info)) || undefined;
  const bits = Number(argument);
  return (info) => maskedAddress(withoutPort(address(info)), Math.min(bits, 32), Math.min(bits, 128));
};

const COALESCE_MAX = 10;

/** The first of several that has a value. */
const coalesceOperator = (process: ProcessFacts | undefined, argument: string, path: string, depth: number): Operator => {
  if (depth > COALESCE_MAX) throw new PlanError(path, `%COALESCE% is nested deeper than ${COALESCE_MAX}`);
  const operators = coalesced(argument, path).map((entry, i) => {
    const at = `${path}.operators[${i}]`;
    const { command, param, max_length: max } = typeof entry === 'string' ? { command: entry } : entry;
    if (typeof command !== 'string' || (param !== undefined && typeof param !== 'string')) throw new PlanError(at, 'is not an operator');
    if (max !== undefined && !(Number.isInteger(max) && Number(max) > 0))
      throw new PlanError(`${at}.max_length`, 'must be a number above 0');
    return command === 'COALESCE'
      ? truncated(coalesceOperator(process, param ?? '', at, depth + 1), max as number | undefined)
      : compileOperator(command, param, max as number | undefined, at, process);
  });
  const first = (texts: boolean): Operator => {
    const all = operators.map((operator) => (texts ? (operator.inText ?? operator) : operator));
    return (info, req, resp, trailers) => {
      for (const operator of all) {
        const value = operator(info, req, resp, trailers);
        if (value !== undefined && value !== null) return value;
      }
      return undefined;
    };
  };
  return Object.assign(first(false), { inText: first(true) });
};

type Coalesced = string | { readonly [key: string]: unknown };

const coalesced = (argument: string, path: string): readonly Coalesced[] => {
  let read: unknown;
  try {
    read = JSON.parse(argument);
  } catch {
    throw new PlanError(path, '%COALESCE% wants a JSON object with `operators`');
  }
  const list: unknown = typeof read === 'object' && read !== null ? (read as { readonly [key: string]: unknown })['operators'] : undefined;
  if (!Array.isArray(list) || list.length === 0) throw new PlanError(path, '%COALESCE% wants a JSON object with `operators`, one at least');
  if (list.some((entry) => typeof entry !== 'string' && (typeof entry !== 'object' || entry === null)))
    throw new PlanError(path, 'an operator of %COALESCE% is a name, or an object with `command`');
  return list as readonly Coalesced[];
};

type Which = 0 | 1 | 2;
type HeaderGetter = (info: StreamInfo, block: HeaderBlock | undefined) => string | undefined;

const headerGetter = (rawName: string, path: string, pseudo: boolean): HeaderGetter => {
  const name = rawName.toLowerCase();
  if (!/^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) throw new PlanError(path, `"${rawName}" is not a header name`);
  if (pseudo) {
    switch (name) {
      case ':method':
        return (info) => info.method || undefined;
      case ':path':
      case 'path':
        return (info, block) => info.path || (name === 'path' ? block?.get(name) : undefined);
      case ':authority':
      case 'host':
        return (info) => info.authority || undefined;
      case ':scheme':
        return (info) => info.scheme || undefined;
    }
  }
  if (name === ':status')
    return (info) => {
      const status = info.responseCode || info.localReplyStatus;
      return status > 0 ? String(status) : undefined;
    };
  const id = nameId(name);
  return id > 0 ? (_, block) => block?.getById(id) : (_, block) => block?.get(name);
};

/** `A?B`: B when A is not there. */
const headerOperator = (argument: string, path: string, which: Which, map: (v: string) => string = asItIs): Operator => {
  const [main = '', other, more] = argument.split('?');
  if (main === '' || more !== undefined) throw new PlanError(path, `"${argument}" is not a header name with at most one alternative`);
  const first = headerGetter(main, path, which === 0);
  const second = other === undefined || other === '' ? undefined : headerGetter(other, path, which === 0);
  const operator: Operator = (info, req, resp, trailers) => {
    const block = which === 0 ? req : which === 1 ? resp : trailers;
    const value = first(info, block) ?? second?.(info, block);
    return value === undefined ? undefined : map(value);
  };
  const name = main.toLowerCase();
  const id = nameId(name);
  const isPlain = second === undefined && map === asItIs && id > 0 && !OF_THE_MESSAGE.has(name);
  return isPlain ? Object.assign(operator, { header: { which, id } }) : operator;
};
const asItIs = (v: string): string => v;
/** Read from StreamInfo, where rewrites show. */
const OF_THE_MESSAGE: ReadonlySet<string> = new Set([':method', ':path', 'path', ':authority', 'host', ':scheme', ':status']);

const GRPC_NAMES = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
];
const grpcStatus: Operator = (info, req, resp, trailers) => {
  if (!isGrpcType(req?.getById(H.CONTENT_TYPE))) return undefined;
  const text = trailers?.getById(H.GRPC_STATUS) ?? resp?.getById(H.GRPC_STATUS);
  if (text !== undefined) return /^\d{1,4}$/.test(text) ? Number(text) : undefined;
  return info.responseCode === 0 ? undefined : (GRPC_OF_HTTP[info.responseCode] ?? 2);
};
const GRPC_OF_HTTP: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const grpcName = (argument: string, path: string): Operator => {
  const style = argument === '' ? 'CAMEL_STRING' : argument;
  if (style === 'NUMBER') return grpcStatus;
  if (style !== 'CAMEL_STRING' && style !== 'SNAKE_STRING') throw new PlanError(path, `"${argument}" is not a gRPC status format`);
  const names =
    style === 'CAMEL_STRING'
      ? GRPC_NAMES
      : GRPC_NAMES.map((n) =>
          n
            .replace(/(?<=[a-z])[A-Z]/g, '_$&')
            .replace('Canceled', 'Cancelled')
            .toUpperCase(),
        );
  return (info, req, resp, trailers) => {
    const status = grpcStatus(info, req, resp, trailers);
    return typeof status === 'number' ? (names[status] ?? String(status)) : undefined;
  };
};

const durationOperator = (argument: string, path: string): Operator => {
  const [from = '', to = '', precision = 'ms'] = argument.split(':');
  const start = DURATION_POINTS[from];
  const end = DURATION_POINTS[to];
  if (from === '' || to === '') throw new PlanError(path, `"${argument}" does not name two time points`);
  const factor = { ms: 1, us: 1000, ns: 1_000_000 }[precision];
  if (factor === undefined) throw new PlanError(path, `"${precision}" is not a precision`);
  // A point that nobody sets has no time.
  if (start === undefined || end === undefined) return () => undefined;
  return (info) => {
    const ms = elapsed(start(info), end(info), 1);
    return ms === undefined ? undefined : Math.floor(ms * factor);
  };
};

const metadataOperator = (of: (info: StreamInfo) => JsonObject | undefined, argument: string, path: string): Operator => {
  const [namespace = '', ...keys] = argument.split(':');
  if (namespace === '' && argument !== NO_NAMESPACE) throw new PlanError(path, 'a metadata namespace is required');
  return (info) => {
    let at: JsonValue | undefined = of(info)?.[namespace];
    for (const key of keys) at = typeof at === 'object' && at !== null && !Array.isArray(at) ? (at as JsonObject)[key] : undefined;
    return at;
  };
};
/** A source alone: nothing is found. */
const NO_NAMESPACE = ':';
const filterMetadata = (metadata: Metadata | undefined): JsonObject | undefined => metadata?.filter_metadata as JsonObject | undefined;
const METADATA_SOURCES: Readonly<Record<string, (info: StreamInfo) => JsonObject | undefined>> = {
  DYNAMIC: (info) => info.dynamicMetadata,
  CLUSTER: (info) => filterMetadata(info.clusterMetadata),
  ROUTE: (info) => filterMetadata(info.routeMetadata),
  UPSTREAM_HOST: (info) => filterMetadata(info.upstreamHostMetadata),
  LISTENER: (info) => filterMetadata(info.listenerMetadata),
  LISTENER_FILTER_CHAIN: (info) => filterMetadata(info.listenerFilterChainMetadata),
  VIRTUAL_HOST: (info) => filterMetadata(info.virtualHostMetadata),
};

const filterStateOperator = (
  of: (key: string, info: StreamInfo) => string | JsonObject | undefined,
  argument: string,
  path: string,
): Operator => {
  const [key = '', style = 'TYPED', field] = argument.split(':');
  if (key === '') throw new PlanError(path, 'a filter state key is required');
  if (style !== 'PLAIN' && style !== 'TYPED' && style !== 'FIELD') throw new PlanError(path, `"${style}" is not a filter state format`);
  if (style === 'FIELD' && (field === undefined || field === '')) throw new PlanError(path, 'FIELD needs a field name');
  return (info) => {
    const value = of(key, info);
    if (value === undefined || style === 'TYPED') return value;
    if (style === 'PLAIN') return typeof value === 'string' ? value : JSON.stringify(value);
    return typeof value === 'string' ? undefined : value[field as string];
  };
};

const withoutSpaces = (text: string): string => (text.includes(' ') ? text.replaceAll(' ', '_') : text);

const timeOperator =
  (at: (info: StreamInfo) => number) =>
  (argument: string, path: string): Operator => {
    const format = compileTimeFormat(argument, path);
    return (info) => (at(info) > 0 ? format(at(info)) : undefined);
  };
/** As `Jan 31 12:00:00 2026 GMT`, or in the given format. */
const certificateTime =
  (at: (info: StreamInfo) => number | undefined) =>
  (argument: string, path: string): Operator => {
    const format = compileTimeFormat(argument, path);
    return (info) => {
      const ms = at(info);
      return ms === undefined ? undefined : format(ms);
    };
  };

const ARGUMENT_OPERATORS: Readonly<Record<string, (argument: string, path: string, name: string) => Operator>> = {
  START_TIME: timeOperator((info) => info.startTime),
  START_TIME_LOCAL: timeOperator((info) => info.startTime),
  EMIT_TIME: timeOperator((info) => info.endTime),
  EMIT_TIME_LOCAL: timeOperator((info) => info.endTime),
  REQ: (argument, path) => headerOperator(argument, path, 0),
  RESP: (argument, path) => headerOperator(argument, path, 1),
  TRAILER: (argument, path) => headerOperator(argument, path, 2),
  REQ_WITHOUT_QUERY: (argument, path) => headerOperator(argument, path, 0, withoutQuery),
  REQUEST_HEADER: (argument, path) => headerOperator(argument, path, 0),
  RESPONSE_HEADER: (argument, path) => headerOperator(argument, path, 1),
  RESPONSE_TRAILER: (argument, path) => headerOperator(argument, path, 2),
  PATH: (argument, path) => {
    const [query = 'WQ', which = 'ORIG_OR_PATH'] = argument === '' ? [] : argument.split(':');
    const names: Readonly<Record<string, string>> = {
      ORIG: 'x-envoy-original-path',
      PATH: ':path',
      ORIG_OR_PATH: 'x-envoy-original-path?:path',
    };
    const source = names[which];
    if (source === undefined || (query !== 'WQ' && query !== 'NQ')) throw new PlanError(path, `"${argument}" is not an option of %PATH%`);
    return headerOperator(source, path, 0, query === 'NQ' ? withoutQuery : undefined);
  },
  QUERY_PARAM: (argument, path) => {
    if (argument === '') throw new PlanError(path, 'a parameter name is required');
    return (info) => queryParameter(info.path, argument, true);
  },
  QUERY_PARAMS: (argument, path) => {
    if (argument !== '' && argument !== 'ORIG' && argument !== 'DECODED')
      throw new PlanError(path, `"${argument}" is not an option of %QUERY_PARAMS%`);
    return (info) => (info.path.includes('?') ? info.path.slice(info.path.indexOf('?') + 1) : undefined);
  },
  RESPONSE_CODE_DETAILS: (argument) => {
    // As Envoy, which takes any other option for none.
    const spaces = argument === 'ALLOW_WHITESPACES';
    return (info) => (spaces ? info.responseCodeDetails : withoutSpaces(info.responseCodeDetails)) || undefined;
  },
  GRPC_STATUS: grpcName,
  GRPC_STATUS_NUMBER: () => grpcStatus,
  COMMON_DURATION: durationOperator,
  DYNAMIC_METADATA: (argument, path) => metadataOperator((info) => info.dynamicMetadata, argument, path),
  CLUSTER_METADATA: (argument, path) => metadataOperator((info) => filterMetadata(info.clusterMetadata), argument, path),
  UPSTREAM_METADATA: (argument, path) =>
    metadataOperator((info) => filterMetadata(info.upstreamHostMetadata), argument.replace(/^\[|\]$/g, ''), path),
  METADATA: (argument, path) => {
    const colon = argument.indexOf(':');
    const source = METADATA_SOURCES[colon < 0 ? argument : argument.slice(0, colon)];
    if (source === undefined) throw new PlanError(path, `"${argument}" does not name a metadata source`);
    return metadataOperator(source, colon < 0 ? NO_NAMESPACE : argument.slice(colon + 1), path);
  },
  UPSTREAM_FILTER_STATE: (argument, path) => filterStateOperator((key, info) => info.upstreamFilterState[key], argument, path),
  PER_REQUEST_STATE: (argument, path) => filterStateOperator((key, info) => info.filterState[key], `${argument}:PLAIN`, path),
  UPSTREAM_PEER_CERT_V_START: certificateTime((info) => info.upstreamTls?.peer?.notBefore),
  UPSTREAM_PEER_CERT_V_END: certificateTime((info) => info.upstreamTls?.peer?.notAfter),
  DOWNSTREAM_PEER_CERT_V_START: certificateTime((info) => info.downstreamTls?.peer?.notBefore),
  DOWNSTREAM_PEER_CERT_V_END: certificateTime((info) => info.downstreamTls?.peer?.notAfter),
};
