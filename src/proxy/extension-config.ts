// The configuration of an extension as it is told apart: by type URL, with TypedStruct unwrapped.

import { PlanError } from '../plan/plan-error.ts';
import type { AnyMessage } from '../xds/gen/types.ts';

const TYPED_STRUCT = /^type\.googleapis\.com\/(udpa\.type\.v1|xds\.type\.v3)\.TypedStruct$/;

/** Full message name without the prefix: `envoy.extensions.filters.http.router.v3.Router`; '' when there is no configuration. */
export const typeNameOf = (config: AnyMessage | undefined): string => {
  const url = config === undefined ? '' : '@type' in config ? config['@type'] : config.type_url;
  return url.slice(url.lastIndexOf('/') + 1);
};

/** A TypedStruct becomes `{'@type': its type_url, ...its value}`; anything else stays. */
export const unwrapConfig = (config: AnyMessage | undefined): AnyMessage | undefined => {
  if (config === undefined || !('@type' in config) || !TYPED_STRUCT.test(config['@type'])) return config;
  const inner = config as unknown as { type_url?: string; value?: { readonly [key: string]: unknown } };
  return { ...inner.value, '@type': inner.type_url ?? '' };
};

/** The fields of a configuration whose type was checked by its name. */
export const configAs = <T>(config: AnyMessage | undefined, path: string): T => {
  if (config === undefined || !('@type' in config)) throw new PlanError(path, 'typed_config is missing or of an unknown type');
  return config as unknown as T;
};
