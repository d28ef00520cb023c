// External authorizers of MeshConfig's extensionProviders as Envoy's ext_authz. They are asked only about requests that a CUSTOM policy
// matched: the RBAC filter before them leaves the name of the policy in metadata.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { ok, type Result } from '../base/result.ts';
import { findAuthorizer, type GrpcAuthorizer, type HttpAuthorizer } from '../mesh/authorizers.ts';
import { compareText } from '../mesh/order.ts';
import type { Service } from '../mesh/service.ts';
import type {
  BufferSettings,
  GrpcService,
  HttpExtAuthz_ExtAuthz,
  HttpExtAuthz_HttpService,
  HttpStatus,
  Matcher_ListStringMatcher,
  MetadataMatcher,
  NetworkExtAuthz_ExtAuthz,
} from '../xds/gen/types.ts';
import { outboundCluster } from './names.ts';

export interface ExternalAuthorizer {
  readonly http: HttpExtAuthz_ExtAuthz;
  /** Authorizers that speak HTTP are not asked about TCP connections. */
  readonly tcp: NetworkExtAuthz_ExtAuthz | undefined;
}

const EXTERNAL = 'istio-ext-authz';
/** Names of policies begin with it, so that the authorizer knows its own. */
export const externalPrefix = (provider: string): string => (provider === '' ? `${EXTERNAL}-` : `${EXTERNAL}-${provider}-`);
export const EXTERNAL_SHADOW_PREFIX = 'istio_ext_authz_';
export const TCP_STAT_PREFIX = 'tcp.';
export const HTTP_RBAC = 'envoy.filters.http.rbac';
export const NETWORK_RBAC = 'envoy.filters.network.rbac';

const TIMEOUT_DEFAULT = '600s';

/** `services`: those the proxy may reach. An authorizer it has no cluster for could not be asked. */
export const externalAuthorizer = (mesh: MeshConfig, services: readonly Service[], name: string): Result<ExternalAuthorizer, string> => {
  const found = findAuthorizer(mesh, services, name);
  if (!found.ok) return found;
  const { service, settings } = found.value;
  if ('grpc' in settings)
    return ok(overGrpc(settings.grpc, outboundCluster(settings.grpc.port ?? 0, '', service.host), service.host, name));
  const cluster = outboundCluster(settings.http.port ?? 0, '', service.host);
  return ok({ http: overHttp(settings.http, cluster, service.host, name), tcp: undefined });
};

const triggered = (filter: string, provider: string): MetadataMatcher => ({
  filter,
  path: [{ key: `${EXTERNAL_SHADOW_PREFIX}shadow_effective_policy_id` }],
  value: { string_match: { prefix: `${EXTERNAL}-${provider}` } },
});

const common = (settings: HttpAuthorizer | GrpcAuthorizer, provider: string): HttpExtAuthz_ExtAuthz => {
  const body = settings.includeRequestBodyInCheck;
  const { statusOnError = '' } = settings;
  return {
    transport_api_version: 'V3',
    ...(settings.failOpen === true ? { failure_mode_allow: true } : {}),
    ...(settings.clearRouteCache === true ? { clear_route_cache: true } : {}),
    ...(statusOnError === '' ? {} : { status_on_error: { code: Number(statusOnError) } satisfies HttpStatus }),
    ...(body === undefined ? {} : { with_request_body: bufferSettings(body) }),
    filter_enabled_metadata: triggered(HTTP_RBAC, provider),
  };
};

const bufferSettings = (body: NonNullable<HttpAuthorizer['includeRequestBodyInCheck']>): BufferSettings => ({
  max_request_bytes: body.maxRequestBytes ?? 0,
  ...(body.allowPartialMessage === true ? { allow_partial_message: true } : {}),
  ...(body.packAsBytes === true ? { pack_as_bytes: true } : {}),
});

const overGrpc = (settings: GrpcAuthorizer, cluster: string, host: string, provider: string): ExternalAuthorizer => {
  const grpc: GrpcService = {
    envoy_grpc: { cluster_name: cluster, authority: host },
    timeout: settings.timeout ?? TIMEOUT_DEFAULT,
  };
  return {
    http: { grpc_service: grpc, ...common(settings, provider) },
    tcp: {
      stat_prefix: TCP_STAT_PREFIX,
      grpc_service: grpc,
      ...(settings.failOpen === true ? { failure_mode_allow: true } : {}),
      transport_api_version: 'V3',
      filter_enabled_metadata: triggered(NETWORK_RBAC, provider),
    },
  };
};

const headerList = (headers: readonly string[] | undefined): Matcher_ListStringMatcher | undefined =>
  headers === undefined || headers.length === 0
    ? undefined
    : {
        patterns: headers.map((h) => ({
          ...(h.startsWith('*') ? { suffix: h.slice(1) } : h.endsWith('*') ? { prefix: h.slice(0, -1) } : { exact: h }),
          ignore_case: true,
        })),
      };

const present = <T extends object>(fields: T): { readonly [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as { readonly [K in keyof T]?: NonNullable<T[K]> };

const overHttp = (settings: HttpAuthorizer, cluster: string, host: string, provider: string): HttpExtAuthz_ExtAuthz => {
  const added = Object.entries(settings.includeAdditionalHeadersInCheck ?? {}).sort((a, b) => compareText(a[0], b[0]));
  const shown = headerList(settings.includeRequestHeadersInCheck) ?? headerList(settings.includeHeadersInCheck);
  const response = present({
    allowed_upstream_headers: headerList(settings.headersToUpstreamOnAllow),
    allowed_client_headers: headerList(settings.headersToDownstreamOnDeny),
    allowed_client_headers_on_success: headerList(settings.headersToDownstreamOnAllow),
  });
  const http: HttpExtAuthz_HttpService = {
    server_uri: { uri: `http://${host}`, cluster, timeout: settings.timeout ?? TIMEOUT_DEFAULT },
    ...((settings.pathPrefix ?? '') === '' ? {} : { path_prefix: settings.pathPrefix }),
    ...(added.length === 0 ? {} : { authorization_request: { headers_to_add: added.map(([key, value]) => ({ key, value })) } }),
    ...(Object.keys(response).length === 0 ? {} : { authorization_response: response }),
  };
  return { http_service: http, ...common(settings, provider), ...(shown === undefined ? {} : { allowed_headers: shown }) };
};
