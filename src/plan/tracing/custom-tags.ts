// Tags that a configuration adds to spans: a text, a variable of the environment, a header, a piece of metadata, a format. Compiled once;
// a tag that finds nothing and has no default is left out.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { CustomTag, CustomTag_Metadata, JsonValue, Metadata } from '../../xds/gen/types.ts';
import { compileLogFormat } from '../log-format.ts';
import { PlanError } from '../plan-error.ts';
import type { ProcessFacts, StreamInfo } from '../stream-info.ts';

export interface CompiledTag {
  readonly tag: string;
  /** '' and undefined: there is none. */
  readonly value: TagValue;
  /** The value came off the wire: it has a character for each byte. */
  readonly received: boolean;
}

type TagValue = (
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
) => string | undefined;

export const compileCustomTags = (tags: readonly CustomTag[], path: string, process?: ProcessFacts): readonly CompiledTag[] =>
  tags.map((tag, i) => {
    const at = `${path}[${i}]`;
    if ((tag.tag ?? '') === '') throw new PlanError(`${at}.tag`, 'is required');
    return { tag: tag.tag ?? '', value: compileTag(tag, at, process), received: tag.request_header !== undefined };
  });

/** Those of a route take the place of the listener's of the same name. */
export const mergeTags = (all: readonly CompiledTag[], own: readonly CompiledTag[]): readonly CompiledTag[] =>
  own.length === 0 ? all : [...all.filter(({ tag }) => !own.some((o) => o.tag === tag)), ...own];

const compileTag = (tag: CustomTag, path: string, process: ProcessFacts | undefined): TagValue => {
  if (tag.literal !== undefined) {
    const value = tag.literal.value ?? '';
    return () => value;
  }
  if (tag.environment !== undefined) {
    const { name = '', default_value = '' } = tag.environment;
    return (info) => info.process?.environment[name] ?? default_value;
  }
  if (tag.request_header !== undefined) {
    const { name = '', default_value } = tag.request_header;
    const header = name.toLowerCase();
    return pseudoHeader(header) ?? ((_, request) => request?.get(header) ?? default_value);
  }
  if (tag.metadata !== undefined) return compileMetadata(tag.metadata, `${path}.metadata`);
  if (tag.value !== undefined) return compileLogFormat({ text: tag.value }, true, `${path}.value`, process);
  throw new PlanError(path, 'has no value of a kind that is known');
};

const pseudoHeader = (header: string): TagValue | undefined => {
  switch (header) {
    case ':method':
      return (info) => info.method;
    case ':path':
      return (info) => info.path;
    case ':authority':
    case 'host':
      return (info) => info.authority;
    case ':scheme':
      return (info) => info.scheme;
    default:
      return undefined;
  }
};

type Place = (info: StreamInfo) => JsonValue | undefined;

const placeOf = ({ kind }: CustomTag_Metadata, key: string, path: string): Place => {
  const inside = (metadata: Metadata | undefined): JsonValue | undefined => metadata?.filter_metadata?.[key];
  if (kind?.request !== undefined) return (info) => info.dynamicMetadata[key];
  if (kind?.route !== undefined) return (info) => inside(info.routeMetadata);
  if (kind?.cluster !== undefined) return (info) => inside(info.clusterMetadata);
  if (kind?.host !== undefined) return (info) => inside(info.upstreamHostMetadata);
  throw new PlanError(`${path}.kind`, 'is required');
};

const compileMetadata = (tag: CustomTag_Metadata, path: string): TagValue => {
  const place = placeOf(tag, tag.metadata_key?.key ?? '', path);
  const steps = (tag.metadata_key?.path ?? []).map((segment) => segment.key ?? '');
  const otherwise = tag.default_value;
  return (info) => {
    let value = place(info);
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return otherwise;
      value = (value as { readonly [key: string]: JsonValue })[step];
    }
    if (value === undefined || value === null) return otherwise;
    return typeof value === 'string' ? value : JSON.stringify(value);
  };
};
