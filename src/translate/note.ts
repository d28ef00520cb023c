// What an object asks for and a proxy does not get, because the proxy announced that it does not know how. No proxy is named: proxies
// that are alike share what was made for them, the notes too.

import type { Resource } from '../api/resource.ts';

export interface Note {
  readonly code: 'PATCH_NOT_UNDERSTOOD' | 'TELEMETRY_NOT_UNDERSTOOD';
  readonly resource: Resource;
  /** Where in the object. */
  readonly path: string;
  /** What the proxy does instead, as the end of a sentence that begins with its name. */
  readonly what: string;
}
