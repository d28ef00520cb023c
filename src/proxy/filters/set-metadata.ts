// envoy.filters.http.set_metadata: writes dynamic metadata that other filters, logs and routes read. What is there is kept, or merged
// with where that is allowed: objects by field, lists one behind the other. Refused: typed metadata, which nothing here reads.

import { PlanError } from '../../plan/plan-error.ts';
import type { JsonObject, JsonValue, HttpSetMetadata_Config as SetMetadataConfig } from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { FilterExchange, HttpFilterFactory } from './http-filter.ts';

interface Entry {
  readonly namespace: string;
  readonly value: JsonObject;
  readonly overwrites: boolean;
}

const compileEntries = (config: SetMetadataConfig): readonly Entry[] => {
  const entries: Entry[] = [];
  // The older form of a single entry.
  if (config.value !== undefined && (config.metadata_namespace ?? '') !== '')
    entries.push({ namespace: config.metadata_namespace ?? '', value: config.value, overwrites: true });
  config.metadata?.forEach((entry, i) => {
    const { metadata_namespace: namespace = '', value, typed_value: typed, allow_overwrite: overwrites = false } = entry;
    if (namespace === '') throw new PlanError(`metadata[${i}].metadata_namespace`, 'is required');
    if (typed !== undefined) throw new PlanError(`metadata[${i}].typed_value`, 'not supported');
    if (value !== undefined) entries.push({ namespace, value, overwrites });
  });
  return entries;
};

export const setMetadataFilter: HttpFilterFactory = {
  compile: (typed, context, { env }) => {
    const entries = compileEntries(configAs<SetMetadataConfig>(typed, 'typed_config'));
    const denied = env.stats.counter(`http.${context.statPrefix}.set_metadata.overwrite_denied`);
    return {
      onRequest: ({ info: { dynamicMetadata } }: FilterExchange): undefined => {
        for (const { namespace, value, overwrites } of entries) {
          const before = dynamicMetadata[namespace];
          if (before !== undefined && !overwrites) denied.value++;
          else dynamicMetadata[namespace] = before === undefined ? value : merged(before, value);
        }
      },
    };
  },
};

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const merged = (before: JsonObject, after: JsonObject): JsonObject => {
  const out: { [name: string]: JsonValue } = { ...before };
  for (const [name, value] of Object.entries(after)) {
    const old = out[name];
    if (isObject(old) && isObject(value)) out[name] = merged(old, value);
    else out[name] = Array.isArray(old) && Array.isArray(value) ? [...old, ...value] : value;
  }
  return out;
};
