// A listener with jwt_authn before a backend that says what reached it, ours or a stock Envoy's.
import type { HttpConnectionManager, HttpFilter, JwtAuthentication, JwtProvider, Listener, Route } from '../../src/xds/gen/types.ts';
import { hcm, listener, RawClient, type RawResponse, ROUTER } from './harness.ts';
import { ED25519, jwk, P256, P384, RSA, SECRET } from './token-mint.ts';

const JWT = 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication';
export const JWT_PER_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig';

export const KEYS = JSON.stringify({
  keys: [
    jwk(RSA, { kid: 'k1', alg: 'RS256' }),
    jwk(RSA, { kid: 'ps' }),
    jwk(P256, { kid: 'e1' }),
    jwk(P384, { kid: 'e3', alg: 'ES384' }),
    jwk(ED25519, { kid: 'ed' }),
    { kty: 'oct', kid: 'h1', k: SECRET.toString('base64url') },
  ],
});

export const provider = (more: Partial<JwtProvider> = {}): JwtProvider => ({
  issuer: 'https://issuer.test',
  local_jwks: { inline_string: KEYS },
  payload_in_metadata: 'payload',
  ...more,
});

const ALWAYS: JwtAuthentication['rules'] = [{ match: { prefix: '/' }, requires: { provider_name: 'p' } }];

export const jwtAuthn = (config: Partial<JwtAuthentication>): HttpFilter => ({
  name: 'envoy.filters.http.jwt_authn',
  typed_config: { '@type': JWT, providers: { p: provider() }, rules: ALWAYS, ...config },
});

export const jwtListener = (
  name: string,
  config: Partial<JwtAuthentication>,
  routes: readonly Route[] = [{ match: { prefix: '/' }, route: { cluster: 'web' } }],
  more: Partial<HttpConnectionManager> = {},
): Listener => listener(name, hcm(routes, { http_filters: [jwtAuthn(config), ROUTER], ...more }));

export interface JwtRequest {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: readonly string[];
}

export const bearing = (token: string): JwtRequest => ({ headers: [`authorization: Bearer ${token}`] });

export const ask = async (port: number, { path = '/', method = 'GET', headers = [] }: JwtRequest): Promise<RawResponse> => {
  const client = await RawClient.open(port);
  try {
    return await client
      .send(`${method} ${path} HTTP/1.1\r\nhost: a.test\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`)
      .response(method);
  } finally {
    client.close();
  }
};
