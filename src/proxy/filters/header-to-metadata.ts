// envoy.filters.http.header_to_metadata: writes dynamic metadata from headers and cookies of requests, and from headers of responses, for
// logs, routes and the choice of hosts. The rules of a route stand instead of the listener's. Counts only where a prefix is given. The
// route stays the one that was chosen before. Refused: taking away a pseudo header. Unlike in Envoy a number without end is none.

import { PlanError } from '../../plan/plan-error.ts';
import { compileSubstitution } from '../../plan/regex.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { CodecError, decodeNamed } from '../../xds/codec.ts';
import type {
  HttpHeaderToMetadata_Config as Config,
  JsonObject,
  JsonValue,
  Config_KeyValuePair as KeyValuePair,
  Config_Rule as RuleConfig,
} from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterExchange, HttpFilterFactory } from './http-filter.ts';

const NAMESPACE = 'envoy.filters.http.header_to_metadata';
/** As Envoy. */
const VALUE_LENGTH_MAX = 8 * 1024;

type Side = 'request' | 'response';
type Count = (what: string) => void;
type Metadata = { [namespace: string]: { [key: string]: JsonValue } };
type Write = (value: string, into: Metadata, count: Count) => void;

interface Rule {
  /** Takes what it reads where it is told to. */
  readonly read: (exchange: FilterExchange, headers: HeaderBlock) => string | undefined;
  readonly present: Write | undefined;
  readonly missing: Write | undefined;
}
interface Rules {
  readonly request: readonly Rule[];
  readonly response: readonly Rule[];
  readonly count: Count;
}

const uncounted: Count = () => {};

const compileRules = (config: Config, env: ProxyEnvironment): Rules => {
  const prefix = config.stat_prefix ?? '';
  return {
    request: (config.request_rules ?? []).map((rule, i) => compileRule(rule, `request_rules[${i}]`, 'request')),
    response: (config.response_rules ?? []).map((rule, i) => compileRule(rule, `response_rules[${i}]`, 'response')),
    count: prefix === '' ? uncounted : (what) => env.stats.counter(`http_filter_name.${prefix}.${what}`).value++,
  };
};

const compileRule = (rule: RuleConfig, path: string, side: Side): Rule => {
  const { header = '', cookie = '', on_header_present: present, on_header_missing: missing, remove = false } = rule;
  if ((header === '') === (cookie === '')) throw new PlanError(path, 'one of header, cookie is required');
  if (present === undefined && missing === undefined) throw new PlanError(path, 'one of on_header_present, on_header_missing is required');
  if (cookie !== '' && remove) throw new PlanError(`${path}.remove`, 'a cookie cannot be removed');
  if (missing !== undefined && (missing.value ?? '') === '') throw new PlanError(`${path}.on_header_missing.value`, 'is required');
  return {
    read: cookie === '' ? compileHeader(header.toLowerCase(), remove, side, path) : (_, headers) => cookieOf(headers, cookie),
    present: present === undefined ? undefined : compileWrite(present, side, `${path}.on_header_present`),
    missing: missing === undefined ? undefined : compileWrite(missing, side, `${path}.on_header_missing`),
  };
};

const PSEUDO: Readonly<Record<Side, { readonly [name: string]: (exchange: FilterExchange) => string }>> = {
  request: {
    ':path': ({ path }) => path,
    ':method': ({ method }) => method,
    ':authority': ({ authority }) => authority,
    host: ({ authority }) => authority,
    ':scheme': ({ scheme }) => scheme,
  },
  response: { ':status': ({ info }) => String(info.responseCode) },
};

const compileHeader = (name: string, remove: boolean, side: Side, path: string): Rule['read'] => {
  const pseudo = PSEUDO[side][name];
  if (pseudo !== undefined) {
    if (remove) throw new PlanError(`${path}.remove`, `${name} cannot be removed`);
    return (exchange) => pseudo(exchange);
  }
  return (_, headers) => {
    if (!headers.has(name)) return undefined;
    const value = headers.values(name).join(',');
    if (remove) headers.remove(name);
    return value;
  };
};

/** As Envoy: the first of its name counts, and an empty one is none. */
const cookieOf = (headers: HeaderBlock, name: string): string | undefined => {
  for (const line of headers.values('cookie'))
    for (const cookie of line.split(';')) {
      const equals = cookie.indexOf('=');
      if (equals < 0 || cookie.slice(0, equals).replace(/^ +/, '') !== name) continue;
      const value = cookie.slice(equals + 1).replace(/^"(.*)"$/, '$1');
      return value === '' ? undefined : value;
    }
  return undefined;
};

const compileWrite = (pair: KeyValuePair, side: Side, path: string): Write => {
  const {
    metadata_namespace: namespace = '',
    key = '',
    value: fixed = '',
    regex_value_rewrite: rewrite,
    type = 'STRING',
    encode = 'NONE',
  } = pair;
  if (key === '') throw new PlanError(`${path}.key`, 'is required');
  if (fixed !== '' && rewrite !== undefined) throw new PlanError(`${path}.regex_value_rewrite`, 'cannot stand beside value');
  if (encode !== 'NONE' && encode !== 'BASE64') throw new PlanError(`${path}.encode`, `${encode} is not known`);
  const substitute = rewrite === undefined ? undefined : compileSubstitution(rewrite, `${path}.regex_value_rewrite`);
  const typed = TYPES.get(type);
  if (typed === undefined) throw new PlanError(`${path}.type`, `${type} is not known`);
  const place = namespace === '' ? NAMESPACE : namespace;
  return (read, into, count) => {
    const text = fixed !== '' ? fixed : substitute === undefined ? read : substitute(read);
    if (text === '') {
      if (read !== '') count('regex_substitution_failed');
      return;
    }
    if (text.length >= VALUE_LENGTH_MAX) {
      count('header_value_too_long');
      return;
    }
    const decoded = encode === 'NONE' ? text : fromBase64(text);
    if (decoded === '') {
      count('base64_decode_failed');
      return;
    }
    const value = typed(decoded);
    if (value === undefined) return;
    into[place] ??= {};
    into[place][key] = value;
    count(`${side}_metadata_added`);
  };
};

/** undefined: it is none. */
const TYPES: ReadonlyMap<string | number, (text: string) => JsonValue | undefined> = new Map<
  string | number,
  (text: string) => JsonValue | undefined
>([
  ['STRING', (text) => text],
  [
    'NUMBER',
    (text) => {
      const [, sign, digits] = /^\s*([+-]?)(0x[\da-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*$/i.exec(text) ?? [];
      const number = digits === undefined ? Number.NaN : Number(digits) * (sign === '-' ? -1 : 1);
      return Number.isFinite(number) ? number : undefined;
    },
  ],
  [
    'PROTOBUF_VALUE',
    (text) => {
      try {
        return decodeNamed('google.protobuf.Value', Buffer.from(text, 'latin1')) as unknown as JsonValue;
      } catch (problem) {
        if (problem instanceof CodecError) return undefined;
        throw problem;
      }
    },
  ],
]);

/** As Envoy: with or without padding, and nothing that decodes to something else; '' when it is none. */
const fromBase64 = (text: string): string => {
  const bare = text.replace(/={1,2}$/, '');
  const bytes = Buffer.from(bare, 'base64');
  return bytes.toString('base64').replace(/=+$/, '') === bare ? bytes.toString('latin1') : '';
};

const apply = (rules: Rules, side: Side, exchange: FilterExchange, headers: HeaderBlock): void => {
  const { count } = rules;
  const written: Metadata = {};
  for (const { read, present, missing } of rules[side]) {
    const value = read(exchange, headers);
    count(`${side}_rules_processed`);
    if (value !== undefined) present?.(value, written, count);
    else if (missing !== undefined) {
      count(`${side}_header_not_found`);
      missing('', written, count);
    }
  }
  const { dynamicMetadata: all }: { dynamicMetadata: { [namespace: string]: JsonObject } } = exchange.info;
  for (const [namespace, values] of Object.entries(written)) all[namespace] = { ...all[namespace], ...values };
};

export const headerToMetadataFilter: HttpFilterFactory = {
  compile: (typed, _context, { env }) => {
    const own = compileRules(configAs<Config>(typed, 'typed_config'), env);
    return {
      onRequest: (exchange: FilterExchange, perRoute: unknown): undefined => {
        apply((perRoute as Rules | undefined) ?? own, 'request', exchange, exchange.requestHeaders);
      },
      onResponse: (exchange: FilterExchange, response: HeaderBlock, perRoute: unknown): void => {
        apply((perRoute as Rules | undefined) ?? own, 'response', exchange, response);
      },
    };
  },
  compilePerRoute: (typed, env) => {
    const config = configAs<Config>(typed, '');
    if ((config.request_rules ?? []).length + (config.response_rules ?? []).length === 0)
      throw new PlanError('request_rules', 'one of request_rules, response_rules is required');
    return compileRules(config, env);
  },
};
