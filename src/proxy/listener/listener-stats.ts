// Under which prefix Envoy counts what a listener meets.

import type { Listener } from '../../xds/gen/types.ts';
import { addressText } from '../connection-facts.ts';

export const listenerStatPrefix = (config: Listener): string => {
  const { address } = config;
  const text = address?.pipe?.path ?? addressText(address?.socket_address?.address ?? '', address?.socket_address?.port_value ?? 0);
  return `listener.${config.stat_prefix || text.replaceAll(':', '_')}.`;
};
