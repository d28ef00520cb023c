// Requests read once: after a restart a thousand proxies ask for the same thousands of names in the same bytes. What is given out is
// shared and must not be changed.
import { createHash } from 'node:crypto';
import { decode } from '../../xds/codec.ts';
import type { DeltaDiscoveryRequest } from '../../xds/gen/types.ts';
import { REQUEST_CACHE_BYTES_MAX } from '../limits.ts';

/** Shorter ones are read faster than looked up. */
const WORTH_BYTES = 4096;

export class RequestCache {
  readonly #known = new Map<string, { readonly bytes: number; readonly request: DeltaDiscoveryRequest }>();
  #bytes = 0;

  /** Throws CodecError on malformed bytes. */
  read(bytes: Uint8Array): DeltaDiscoveryRequest {
    if (bytes.length < WORTH_BYTES || bytes.length > REQUEST_CACHE_BYTES_MAX) return decodeRequest(bytes);
    const key = createHash('sha256').update(bytes).digest('base64');
    const known = this.#known.get(key);
    if (known) return known.request;
    const request = decodeRequest(bytes);
    this.#known.set(key, { bytes: bytes.length, request });
    this.#bytes += bytes.length;
    for (const [oldest, entry] of this.#known) {
      if (this.#bytes <= REQUEST_CACHE_BYTES_MAX) break;
      this.#known.delete(oldest);
      this.#bytes -= entry.bytes;
    }
    return request;
  }
}

const decodeRequest = (bytes: Uint8Array): DeltaDiscoveryRequest => decode('envoy.service.discovery.v3.DeltaDiscoveryRequest', bytes);
