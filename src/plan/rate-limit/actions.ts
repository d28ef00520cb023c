// RateLimit.Action, compiled: what one action adds to a descriptor. One that finds nothing drops the descriptor, unless it says
// that it may be skipped. Values stand as they are configured: Envoy 1.40 formats none of them, so default_value has no effect.
import type { JsonValue, MetadataKey, RateLimit_Action, RateLimit_Action_MetaData } from '../../xds/gen/types.ts';
import { compileHeaderMatcher, type RequestMatch } from '../header-matcher.ts';
import { compileRange, inRange, parseIp } from '../ip-range.ts';
import { PlanError } from '../plan-error.ts';
import { queryParameter } from '../query.ts';
import type { RequestView } from '../request-view.ts';
import { compileStringMatcher } from '../string-matcher.ts';
import type { DescriptorEntry, LimitedRequest } from './descriptor.ts';
import { maskedAddress } from './masked-address.ts';

/** False: the descriptor is dropped. */
export type DescriptorAction = (from: LimitedRequest, entries: DescriptorEntry[]) => boolean;

type Compilers = { readonly [K in keyof RateLimit_Action]-?: (config: NonNullable<RateLimit_Action[K]>, path: string) => DescriptorAction };

export const compileAction = (action: RateLimit_Action, path: string): DescriptorAction => {
  for (const name of Object.keys(COMPILERS) as (keyof RateLimit_Action)[]) {
    const compiled = compileOne(name, action, `${path}.${name}`);
    if (compiled !== undefined) return compiled;
  }
  throw new PlanError(path, 'one action is required');
};

const compileOne = <K extends keyof RateLimit_Action>(name: K, action: RateLimit_Action, path: string): DescriptorAction | undefined => {
  const config = action[name];
  return config === undefined ? undefined : COMPILERS[name](config as NonNullable<RateLimit_Action[K]>, path);
};

const required = (text: string | undefined, path: string): string => {
  if (text === undefined || text === '') throw new PlanError(path, 'is required');
  return text;
};
const or = (text: string | undefined, otherwise: string): string => (text === undefined || text === '' ? otherwise : text);

const entry = (key: string, read: (from: LimitedRequest) => string | undefined, skips = false): DescriptorAction => {
  return (from, entries) => {
    const value = read(from);
    if (value === undefined) return skips;
    entries.push({ key, value });
    return true;
  };
};

/** `value` when the request is as `matches` says, nothing otherwise. */
const when = (key: string, value: string, matches: (from: LimitedRequest) => boolean): DescriptorAction => {
  const made = { key, value };
  return (from, entries) => {
    if (!matches(from)) return false;
    entries.push(made);
    return true;
  };
};

const PSEUDO: Readonly<Record<string, 'method' | 'path' | 'authority' | 'scheme'>> = {
  ':method': 'method',
  ':path': 'path',
  ':authority': 'authority',
  ':scheme': 'scheme',
  host: 'authority',
};

const headerReader = (raw: string): ((request: RequestView) => string | undefined) => {
  const name = raw.toLowerCase();
  const pseudo = PSEUDO[name];
  return pseudo === undefined ? (request) => request.headers.get(name) : (request) => request[pseudo];
};

const prefixLength = (given: number | undefined, most: number, path: string): number => {
  if (given !== undefined && given > most) throw new PlanError(path, `must be at most ${most}`);
  return given ?? most;
};

const COMPILERS: Compilers = {
  source_cluster: () => entry('source_cluster', (from) => from.ownCluster),
  destination_cluster: () => entry('destination_cluster', (from) => from.clusterName),
  request_headers: (config, path) => {
    const read = headerReader(required(config.header_name, `${path}.header_name`));
    return entry(required(config.descriptor_key, `${path}.descriptor_key`), (from) => read(from.request), config.skip_if_absent === true);
  },
  query_parameters: (config, path) => {
    const name = required(config.query_parameter_name, `${path}.query_parameter_name`);
    const key = required(config.descriptor_key, `${path}.descriptor_key`);
    return entry(key, (from) => queryParameter(from.request.path, name, true), config.skip_if_absent === true);
  },
  remote_address: () => entry('remote_address', (from) => from.request.sourceIp || undefined),
  masked_remote_address: (config, path) => {
    const v4 = prefixLength(config.v4_prefix_mask_len, 32, `${path}.v4_prefix_mask_len`);
    const v6 = prefixLength(config.v6_prefix_mask_len, 128, `${path}.v6_prefix_mask_len`);
    return entry('masked_remote_address', (from) => maskedAddress(from.request.sourceIp ?? '', v4, v6));
  },
  remote_address_match: (config, path) => {
    const where = `${path}.address_matcher`;
    const ranges = (config.address_matcher?.ranges ?? []).map((range, i) => compileRange(range, `${where}.ranges[${i}]`));
    if (ranges.length === 0) throw new PlanError(`${where}.ranges`, 'must not be empty');
    const wanted = config.address_matcher?.invert_match !== true;
    const value = required(config.descriptor_value, `${path}.descriptor_value`);
    return when(or(config.descriptor_key, 'remote_address_match'), value, (from) => {
      const ip = parseIp(from.request.sourceIp ?? '');
      return ip !== undefined && ranges.some((range) => inRange(range, ip)) === wanted;
    });
  },
  generic_key: (config, path) =>
    when(or(config.descriptor_key, 'generic_key'), required(config.descriptor_value, `${path}.descriptor_value`), () => true),
  header_value_match: (config, path) => {
    const matchers = (config.headers ?? []).map((matcher, i) => compileHeaderMatcher(matcher, `${path}.headers[${i}]`));
    if (matchers.length === 0) throw new PlanError(`${path}.headers`, 'must not be empty');
    const value = required(config.descriptor_value, `${path}.descriptor_value`);
    return when(or(config.descriptor_key, 'header_match'), value, allOf(matchers, config.expect_match));
  },
  query_parameter_value_match: (config, path) => {
    const matchers = (config.query_parameters ?? []).map((matcher, i): RequestMatch => {
      const where = `${path}.query_parameters[${i}]`;
      const name = required(matcher.name, `${where}.name`);
      // Unlike a route's, with their escapes undone.
      const test = matcher.string_match === undefined ? undefined : compileStringMatcher(matcher.string_match, `${where}.string_match`);
      const present = matcher.present_match ?? true;
      return (request) => {
        const value = queryParameter(request.path, name, true);
        return test === undefined ? (value !== undefined) === present : value !== undefined && test(value);
      };
    });
    if (matchers.length === 0) throw new PlanError(`${path}.query_parameters`, 'must not be empty');
    const value = required(config.descriptor_value, `${path}.descriptor_value`);
    return when(or(config.descriptor_key, 'query_match'), value, allOf(matchers, config.expect_match));
  },
  dynamic_metadata: (config, path) => compileMetadata({ ...config, source: 'DYNAMIC', skip_if_absent: undefined }, path),
  metadata: (config, path) => compileMetadata(config, path),
  extension: (_config, path) => {
    throw new PlanError(path, 'is not supported');
  },
};

const allOf = (matchers: readonly RequestMatch[], expect: boolean | undefined): ((from: LimitedRequest) => boolean) => {
  const wanted = expect ?? true;
  return ({ request }) => matchers.every((match) => match(request)) === wanted;
};

const compileMetadata = (config: RateLimit_Action_MetaData, path: string): DescriptorAction => {
  const key = required(config.descriptor_key, `${path}.descriptor_key`);
  const read = compileMetadataKey(config.metadata_key, `${path}.metadata_key`);
  const source = config.source ?? 'DYNAMIC';
  if (source !== 'DYNAMIC' && source !== 'ROUTE_ENTRY' && source !== 'CLUSTER_ENTRY')
    throw new PlanError(`${path}.source`, `${source} is not supported`);
  const otherwise = config.default_value ?? '';
  const find = (from: LimitedRequest): string | undefined => {
    const { info } = from;
    const metadata =
      source === 'DYNAMIC' ? info.dynamicMetadata : (source === 'ROUTE_ENTRY' ? info.routeMetadata : info.clusterMetadata)?.filter_metadata;
    const value = read(metadata);
    return (typeof value === 'string' && value !== '' ? value : otherwise) || undefined;
  };
  return entry(key, find, config.skip_if_absent === true);
};

export const compileMetadataKey = (
  config: MetadataKey | undefined,
  path: string,
): ((metadata: object | undefined) => JsonValue | undefined) => {
  const keys = [
    required(config?.key, `${path}.key`),
    ...(config?.path ?? []).map((part, i) => required(part.key, `${path}.path[${i}].key`)),
  ];
  return (metadata) => {
    let at: unknown = metadata;
    for (const key of keys) {
      if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
      at = (at as { readonly [name: string]: unknown })[key];
    }
    return at as JsonValue | undefined;
  };
};
