// skein.dev/retries: idempotent-only on a VirtualService, an option of Skein's own: once bytes were sent, only requests of idempotent
// methods are tried again. Istio knows no such thing, so what differs is said.

import type { Resource } from '../api/resource.ts';

export const RETRIES_ANNOTATION = 'skein.dev/retries';
const IDEMPOTENT_ONLY = 'idempotent-only';

export const retriesIdempotentOnly = (resource: Resource): boolean => resource.annotations[RETRIES_ANNOTATION] === IDEMPOTENT_ONLY;

/** What to say of a VirtualService that asks for it; undefined: nothing. */
export const idempotentRetriesMessage = (resource: Resource): string | undefined => {
  const asked = resource.annotations[RETRIES_ANNOTATION];
  if (asked === undefined) return undefined;
  return asked === IDEMPOTENT_ONLY
    ? 'unlike Istio, and unlike Envoy proxies of this mesh, Skein proxies try POST, PATCH and CONNECT again only while nothing was sent'
    : `"${asked}" is not known; the only value is ${IDEMPOTENT_ONLY}`;
};
