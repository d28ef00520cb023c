// The type of an extension's configuration.
import type { AnyMessage } from '../xds/gen/types.ts';

/** The message's full name; '' when there is none. */
export const typeNameOf = (config: AnyMessage | undefined): string => {
  const url = config !== undefined && '@type' in config ? String(config['@type']) : '';
  return url.slice(url.lastIndexOf('/') + 1);
};
