// An authorization server that answers as each request asks (header x-answer), and a listener that asks it.

import { frameMessage } from '../../src/wire/grpc-frames.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { CheckRequest, CheckResponse, HttpConnectionManager, HttpExtAuthz_ExtAuthz, Route } from '../../src/xds/gen/types.ts';
import {
  type Backend,
  hcm,
  httpBackend,
  listener,
  ok,
  type Plane,
  ROUTER,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';
import { HTTP2_CLUSTER, http2Backend } from './http2-peers.ts';

export interface AuthzServer extends AsyncDisposable {
  readonly port: number;
  readonly asked: CheckRequest[];
  readonly heads: Record<string, unknown>[];
  /** Calls whose client gave them up. */
  readonly aborted: () => number;
}

/** `answer` in place of what x-answer says. */
export const grpcAuthz = async (answer?: (request: CheckRequest) => CheckResponse | 'silent' | number): Promise<AuthzServer> => {
  const asked: CheckRequest[] = [];
  let aborted = 0;
  const server = await http2Backend((stream, _headers) => {
    const got: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => got.push(bytes));
    stream.on('aborted', () => aborted++);
    stream.on('end', () => {
      const request = decode('envoy.service.auth.v3.CheckRequest', Buffer.concat(got).subarray(5));
      asked.push(request);
      const text = request.attributes?.request?.http?.headers?.['x-answer'] ?? '{}';
      const said =
        answer?.(request) ?? (/^\d+$/.test(text) ? Number(text) : text === 'silent' ? text : (JSON.parse(text) as CheckResponse));
      if (said === 'silent') return;
      if (typeof said === 'number') {
        stream.respond({ 'content-type': 'application/grpc', 'grpc-status': String(said) }, { endStream: true });
        return;
      }
      stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(frameMessage(encode('envoy.service.auth.v3.CheckResponse', said)));
    });
  });
  return {
    port: server.port,
    asked,
    heads: server.heads,
    aborted: () => aborted,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
};

/** An HTTP one: x-answer is the raw answer with `|` for line ends; `echo` is denied with what was asked. */
export const httpAuthz = (): Promise<Backend> =>
  startBackend((socket, text) => {
    const answer = /^x-answer: (.*)\r$/im.exec(text)?.[1];
    if (answer === 'echo') {
      const asked = (text.match(/^GET \S+|^x-added.*$/gm) ?? []).map((line) => line.trim()).join(' ');
      socket.write(ok(asked).replace('200', '402'));
    } else socket.write(answer === undefined ? ok('') : answer.replaceAll('|', '\r\n'));
  });

const AUTHZ = 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz';
export const PER_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute';
export const GRPC: HttpExtAuthz_ExtAuthz = { grpc_service: { envoy_grpc: { cluster_name: 'authz' }, timeout: '5s' } };
export const OVER_HTTP = { server_uri: { uri: 'http://authz.test', cluster: 'authz', timeout: '5s' } };

export interface AuthzRig extends AsyncDisposable {
  readonly plane: Plane;
  readonly port: number;
  readonly web: Backend;
}

/** A listener with ext_authz before a backend that answers its path. */
export const startAuthz = async (
  config: HttpExtAuthz_ExtAuthz,
  authz: number,
  routes: readonly Route[] = [toCluster('web')],
  more: Partial<HttpConnectionManager> = {},
): Promise<AuthzRig> => {
  const web = await httpBackend((_, head) => ok(/^\w+ (\S+)/.exec(head)?.[1] ?? '', 'x-up: web\r\nx-over: web\r\n'));
  const filter = { name: 'envoy.filters.http.ext_authz', typed_config: { '@type': AUTHZ, ...config } };
  const plane = await startPlane({
    clusters: [staticCluster('web', [web.port]), staticCluster('authz', [authz], config.grpc_service === undefined ? {} : HTTP2_CLUSTER)],
    listeners: [listener('in', hcm(routes, { http_filters: [filter, ROUTER], ...more }))],
  });
  return {
    plane,
    port: plane.port('in'),
    web,
    [Symbol.asyncDispose]: async () => {
      await plane[Symbol.asyncDispose]();
      await web[Symbol.asyncDispose]();
    },
  };
};
