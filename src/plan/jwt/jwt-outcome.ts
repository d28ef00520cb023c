// What has come of a request's tokens so far: nothing of it is done to the request before all is decided, so that it can be decided
// again when keys have come that were not there.
import type { JsonObject } from '../../xds/gen/types.ts';
import type { RequestView } from '../request-view.ts';
import { claimText } from './claim-text.ts';
import type { JwtProvider } from './jwt-provider.ts';
import { JWT, type JwtStatus } from './jwt-status.ts';
import type { KeySet } from './key-set.ts';
import type { Token } from './token.ts';
import type { FoundToken, TokenPlace } from './token-places.ts';

/** What decides beside the request: clock, keys, memory. */
export interface JwtSetting {
  readonly nowS: number;
  /** undefined: they have to be fetched first. A status: there are none. */
  keys(provider: JwtProvider): KeySet | JwtStatus | undefined;
  known(text: string, provider: JwtProvider): Token | undefined;
  remember(text: string, provider: JwtProvider, token: Token): void;
}

export class JwtOutcome {
  readonly request: RequestView;
  readonly setting: JwtSetting;
  /** Set when keys must be fetched before anything is decided. */
  awaits: JwtProvider | undefined = undefined;
  takenOut: readonly TokenPlace[] = NOTHING;
  headers: readonly (readonly [name: string, value: string])[] = NOTHING;
  metadata: { [key: string]: JsonObject } | undefined = undefined;
  clearsRoute = false;

  constructor(request: RequestView, setting: JwtSetting) {
    this.request = request;
    this.setting = setting;
  }

  /** Only `provider` may tell what its headers say, from here on. */
  sanitize(provider: JwtProvider): void {
    if (this.headers.length > 0) this.headers = this.headers.filter(([name]) => !provider.headers.includes(name));
  }

  accept(provider: JwtProvider, token: Token, found: FoundToken): void {
    const { payload, payloadText } = token;
    if (provider.payloadHeader !== '') this.#tell(provider.payloadHeader, provider.padsPayload ? padded(payloadText) : payloadText);
    for (const { header, claim } of provider.claimHeaders) {
      const text = claimText(payload, claim);
      if (text !== undefined) this.#tell(header, text);
    }
    if (!provider.forwards && found.place.kind !== 'cookie') this.takenOut = [...this.takenOut, found.place];
    if (provider.headerKey !== '') this.#note(provider.headerKey, token.header);
    if (provider.payloadKey !== '') this.#note(provider.payloadKey, provider.told(payload));
    if (provider.clearsRoute) this.clearsRoute = true;
  }

  refuse(provider: JwtProvider | undefined, status: JwtStatus): void {
    if (provider !== undefined && provider.failureKey !== '' && status !== JWT.ok)
      this.#note(provider.failureKey, { code: status.code, message: status.text });
  }

  #tell(name: string, value: string): void {
    this.headers = [...this.headers, [name, value]];
  }
  #note(key: string, value: JsonObject): void {
    this.metadata ??= {};
    this.metadata[key] = value;
  }
}

const NOTHING: readonly never[] = [];
const padded = (text: string): string => text.padEnd(Math.ceil(text.length / 4) * 4, '=');
