// envoy.filters.http.compressor: gzip for clients that accept it, of answers that are long enough and of a type that is worth it. An
// answer of the proxy's own is compressed as a whole. What a route says of it stands before the listener's. Refused: other codings than
// gzip, requests, and telling in a header why something was not compressed.

import { PlanError } from '../../plan/plan-error.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { Compressor_CommonDirectionConfig as Common, Compressor, CompressorPerRoute, Gzip } from '../../xds/gen/types.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { encodingChoice } from './accept-encoding.ts';
import { GzipBody, type GzipCounts, type GzipSettings, zlib } from './gzip-body.ts';
import type { FilterExchange, HttpFilter, HttpFilterFactory } from './http-filter.ts';

const GZIP = 'envoy.extensions.compression.gzip.compressor.v3.Gzip';
const DEFAULT_TYPES = [
  'text/html',
  'text/plain',
  'text/css',
  'application/javascript',
  'application/x-javascript',
  'text/javascript',
  'text/x-javascript',
  'text/ecmascript',
  'text/js',
  'text/jscript',
  'text/x-js',
  'application/ecmascript',
  'application/x-json',
  'application/xml',
  'application/json',
  'image/svg+xml',
  'text/xml',
  'application/xhtml+xml',
  'application/grpc-web',
  'application/grpc-web+proto',
];
const LENGTH_MIN = 30;

interface ResponsePlan {
  readonly enabled: boolean;
  readonly lengthMin: number;
  readonly types: ReadonlySet<string>;
  readonly sparesEtags: boolean;
  readonly weakensEtags: boolean;
  readonly takesAcceptEncoding: boolean;
  readonly never: ReadonlySet<number>;
  readonly chosenFirst: boolean;
}
/** What a route says; undefined: as the listener does. */
interface RoutePlan {
  readonly enabled: boolean | undefined;
  readonly takesAcceptEncoding: boolean | undefined;
}

const compilePlan = (config: Compressor): ResponsePlan => {
  const response = config.response_direction_config;
  // The older form.
  const common: Common | undefined =
    response === undefined
      ? { enabled: config.runtime_enabled, min_content_length: config.content_length, content_type: config.content_type }
      : response.common_config;
  const types = common?.content_type ?? [];
  return {
    enabled: common?.enabled?.default_value ?? true,
    lengthMin: common?.min_content_length || LENGTH_MIN,
    types: new Set((types.length === 0 ? DEFAULT_TYPES : types).map((type) => type.toLowerCase())),
    sparesEtags: (response ?? config).disable_on_etag_header === true && response?.weaken_etag_on_compress !== true,
    weakensEtags: response?.weaken_etag_on_compress === true,
    takesAcceptEncoding: (response ?? config).remove_accept_encoding_header === true,
    never: new Set(response?.uncompressible_response_codes),
    chosenFirst: config.choose_first === true,
  };
};

const LEVELS: readonly string[] = [
  'DEFAULT_COMPRESSION',
  'BEST_SPEED',
  ...Array.from({ length: 9 }, (_, i) => `COMPRESSION_LEVEL_${i + 1}`),
];
const STRATEGIES: readonly string[] = ['DEFAULT_STRATEGY', 'FILTERED', 'HUFFMAN_ONLY', 'RLE', 'FIXED'];

const compileGzip = (config: Gzip, path: string): GzipSettings => {
  const within = (name: 'memory_level' | 'window_bits', least: number, most: number, otherwise: number): number => {
    const value = config[name] ?? otherwise;
    if (value < least || value > most) throw new PlanError(`${path}.${name}`, `must be from ${least} to ${most}`);
    return value;
  };
  const strategy = STRATEGIES.indexOf(String(config.compression_strategy ?? 'DEFAULT_STRATEGY'));
  if (strategy < 0) throw new PlanError(`${path}.compression_strategy`, `${config.compression_strategy} is not known`);
  return {
    windowBits: within('window_bits', 9, 15, 12),
    memLevel: within('memory_level', 1, 9, 5),
    level: levelOf(String(config.compression_level ?? 'DEFAULT_COMPRESSION'), `${path}.compression_level`),
    strategy,
  };
};

const levelOf = (name: string, path: string): number => {
  if (name === 'DEFAULT_COMPRESSION') return -1;
  if (name === 'BEST_COMPRESSION') return 9;
  if (!LEVELS.includes(name)) throw new PlanError(path, `${name} is not known`);
  return name === 'BEST_SPEED' ? 1 : Number(name.slice('COMPRESSION_LEVEL_'.length));
};

const ONCE = ['no_accept_header', 'header_identity', 'header_compressor_used', 'header_compressor_overshadowed', 'header_wildcard'];
const OF_RESPONSES = ['header_not_valid', 'not_compressed_etag'];
const OF_A_DIRECTION = ['compressed', 'not_compressed', 'total_uncompressed_bytes', 'total_compressed_bytes', 'content_length_too_small'];

class Counts implements GzipCounts {
  readonly #all: ReadonlyMap<string, Stat>;

  /** `inner`: what stands before the numbers of responses. */
  constructor(stats: StatsStore, prefix: string, inner: string) {
    const names = [
      ...[...ONCE, ...OF_RESPONSES].map((name) => [name, name]),
      ...OF_A_DIRECTION.flatMap((name) => [
        [name, `${inner}${name}`],
        [`request.${name}`, `request.${name}`],
      ]),
    ];
    this.#all = new Map(names.map(([name = '', told = '']) => [name, stats.counter(`${prefix}${told}`)]));
  }

  bytesIn(count: number): void {
    this.count('total_uncompressed_bytes', count);
  }
  bytesOut(count: number): void {
    this.count('total_compressed_bytes', count);
  }
  count(what: string, by = 1): void {
    const stat = this.#all.get(what);
    if (stat !== undefined) stat.value += by;
  }
}

class CompressorFilter implements HttpFilter {
  readonly #plan: ResponsePlan;
  readonly #gzip: GzipSettings;
  readonly #counts: Counts;

  constructor(plan: ResponsePlan, gzip: GzipSettings, counts: Counts) {
    this.#plan = plan;
    this.#gzip = gzip;
    this.#counts = counts;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): undefined {
    // Asked anew, of the same request.
    if (exchange.noteOf(this) !== undefined && exchange.ownAnswer !== undefined) return;
    const route = perRoute as RoutePlan | undefined;
    const { requestHeaders } = exchange;
    exchange.note(this, requestHeaders.has('accept-encoding') ? requestHeaders.values('accept-encoding').join(',') : NONE);
    if (this.#enabled(route) && (route?.takesAcceptEncoding ?? this.#plan.takesAcceptEncoding)) requestHeaders.remove('accept-encoding');
    this.#counts.count('request.not_compressed');
    const before = exchange.ownAnswer;
    exchange.ownAnswer = (headers, status, made) => {
      const body = before === undefined ? made : before(headers, status, made);
      const hasBody = body.length > 0 && exchange.method !== 'HEAD' && status !== 204 && status !== 304;
      if (!this.#decides(exchange, headers, status, hasBody, route)) return body;
      const sent = zlib().gzipSync(body, this.#gzip);
      this.#counts.bytesIn(body.length);
      this.#counts.bytesOut(sent.length);
      headers.setById(H.CONTENT_LENGTH, String(sent.length));
      return sent;
    };
  }

  onResponse(exchange: FilterExchange, headers: HeaderBlock, perRoute: unknown, hasBody = false): void {
    const { info } = exchange;
    // What is the proxy's own was seen above.
    if (info.responseCodeDetails !== 'via_upstream') return;
    if (!this.#decides(exchange, headers, info.responseCode, hasBody, perRoute as RoutePlan | undefined)) return;
    headers.removeById(H.CONTENT_LENGTH);
    exchange.responsePace = new GzipBody(this.#gzip, this.#counts, exchange.responsePace);
  }

  #enabled(route: RoutePlan | undefined): boolean {
    return route?.enabled ?? this.#plan.enabled;
  }

  /** True: the body is to be compressed, and the head says so. */
  #decides(exchange: FilterExchange, headers: HeaderBlock, status: number, hasBody: boolean, route: RoutePlan | undefined): boolean {
    const counts = this.#counts;
    const isLong = this.#enabled(route) && this.#isLong(headers);
    const isCompressible = isLong && exchange.upgrade === '' && this.#isCompressible(headers, status);
    const compresses = hasBody && isLong && this.#isAccepted(exchange.noteOf(this), headers) && isCompressible;
    if (compresses) {
      this.#sanitizeEtag(headers);
      headers.set('content-encoding', 'gzip');
    }
    counts.count(compresses ? 'compressed' : 'not_compressed');
    if (isCompressible) insertVary(headers);
    return compresses;
  }

  #isLong(headers: HeaderBlock): boolean {
    const length = headers.getById(H.CONTENT_LENGTH);
    if (length === undefined || Number(length) >= this.#plan.lengthMin) return true;
    this.#counts.count('content_length_too_small');
    return false;
  }

  #isCompressible(headers: HeaderBlock, status: number): boolean {
    if (this.#plan.never.has(status) || !this.#isTypeAllowed(headers)) return false;
    const control = headers.values('cache-control').join(',').toLowerCase();
    if (control.split(',').some((token) => token.trim() === 'no-transform')) return false;
    if (this.#plan.sparesEtags && headers.has('etag')) {
      this.#counts.count('not_compressed_etag');
      return false;
    }
    return !headers.has('content-encoding');
  }

  #isTypeAllowed(headers: HeaderBlock): boolean {
    const type = headers.getById(H.CONTENT_TYPE);
    return type === undefined || this.#plan.types.has(type.replace(/;.*$/s, '').trim().toLowerCase());
  }

  #isAccepted(accepted: unknown, headers: HeaderBlock): boolean {
    if (typeof accepted !== 'string') {
      this.#counts.count('no_accept_header');
      return false;
    }
    const choice = this.#isTypeAllowed(headers) ? encodingChoice(accepted, 'gzip', this.#plan.chosenFirst) : 'not-valid';
    this.#counts.count(CHOICE_COUNTERS[choice]);
    return choice === 'chosen' || choice === 'wildcard';
  }

  #sanitizeEtag(headers: HeaderBlock): void {
    const etag = headers.get('etag');
    if (etag === undefined || /^w\//i.test(etag)) return;
    if (this.#plan.weakensEtags) headers.set('etag', `W/${etag}`);
    else headers.remove('etag');
  }
}

/** Noted of a request without the header. */
const NONE = Symbol('none');
const CHOICE_COUNTERS = {
  chosen: 'header_compressor_used',
  wildcard: 'header_wildcard',
  identity: 'header_identity',
  'not-valid': 'header_not_valid',
} as const;

const insertVary = (headers: HeaderBlock): void => {
  const vary = headers.values('vary').join(',');
  if (vary === '') headers.set('vary', 'Accept-Encoding');
  else if (!vary.split(',').some((token) => token.trim() === 'Accept-Encoding')) headers.set('vary', `${vary}, Accept-Encoding`);
};

const compile = (config: Compressor, { statPrefix }: ListenerContext, stats: StatsStore): HttpFilter => {
  const library = config.compressor_library;
  const typed = unwrapConfig(library?.typed_config);
  if (library === undefined || (library.name ?? '') === '') throw new PlanError('compressor_library', 'is required');
  if (typeNameOf(typed) !== GZIP)
    throw new PlanError('compressor_library.typed_config', `${typeNameOf(typed)} is not supported: only gzip is`);
  const gzip = compileGzip(configAs<Gzip>(typed, 'compressor_library.typed_config'), 'compressor_library.typed_config');
  const prefix = `http.${statPrefix}.compressor.${library.name}.gzip.`;
  return new CompressorFilter(
    compilePlan(config),
    gzip,
    new Counts(stats, prefix, config.response_direction_config === undefined ? '' : 'response.'),
  );
};

export const compressorFilter: HttpFilterFactory = {
  compile: (typed, context, { env }) => compile(configAs<Compressor>(typed, 'typed_config'), context, env.stats),
  compilePerRoute: (typed): RoutePlan => {
    const { disabled, overrides } = configAs<CompressorPerRoute>(typed, '');
    if (disabled === true) return { enabled: false, takesAcceptEncoding: undefined };
    if (overrides === undefined) throw new PlanError('override', 'one of disabled, overrides is required');
    const response = overrides.response_direction_config;
    return { enabled: response === undefined ? undefined : true, takesAcceptEncoding: response?.remove_accept_encoding_header };
  },
};
