// External authorizers: the providers of MeshConfig that a CUSTOM policy can name, and why one cannot be asked.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Service } from './service.ts';

type Provider = MeshConfig['extensionProviders'][number];
export type HttpAuthorizer = NonNullable<Provider['envoyExtAuthzHttp']>;
export type GrpcAuthorizer = NonNullable<Provider['envoyExtAuthzGrpc']>;

export interface Authorizer {
  readonly service: Service;
  readonly settings: { readonly http: HttpAuthorizer } | { readonly grpc: GrpcAuthorizer };
}

/** `services`: those that who asks may reach. */
export const findAuthorizer = (mesh: MeshConfig, services: readonly Service[], name: string): Result<Authorizer, string> => {
  const provider = mesh.extensionProviders.find((p) => p.name === name);
  const http = provider?.envoyExtAuthzHttp;
  const grpc = provider?.envoyExtAuthzGrpc;
  const settings = http ?? grpc;
  if (settings === undefined) {
    const known = mesh.extensionProviders.filter((p) => p.envoyExtAuthzHttp !== undefined || p.envoyExtAuthzGrpc !== undefined);
    return err(
      `no external authorizer ${JSON.stringify(name)} in extensionProviders (there: ${known.map((p) => p.name).join(', ') || 'none'})`,
    );
  }
  const service = findService(services, settings.service ?? '');
  const problems = [...settingProblems(settings), ...(service.ok ? [] : [service.error])];
  if (!service.ok || problems.length > 0) return err(`external authorizer ${JSON.stringify(name)}: ${problems.join('; ')}`);
  return ok({ service: service.value, settings: http === undefined ? { grpc: settings } : { http } });
};

/** `[namespace/]host`. */
const findService = (services: readonly Service[], text: string): Result<Service, string> => {
  const slash = text.indexOf('/');
  const namespace = slash === -1 ? undefined : text.slice(0, slash);
  const host = text.slice(slash + 1);
  const found = services.filter((s) => s.host === host && (namespace === undefined || s.namespace === namespace));
  const namespaces = new Set(found.map((s) => s.namespace));
  if (found[0] === undefined) return err(`no service ${JSON.stringify(text)} is within reach`);
  return namespaces.size === 1 ? ok(found[0]) : err(`${host} is a service in ${[...namespaces].join(' and ')}: write namespace/host`);
};

const settingProblems = (settings: HttpAuthorizer & GrpcAuthorizer): readonly string[] => {
  const { port = 0, statusOnError = '', pathPrefix = '' } = settings;
  const lists = [
    ...[settings.includeRequestHeadersInCheck, settings.includeHeadersInCheck, settings.headersToUpstreamOnAllow],
    ...[settings.headersToDownstreamOnDeny, settings.headersToDownstreamOnAllow],
  ];
  return [
    ...(port >= 1 && port <= 65535 ? [] : [`port ${port} is not in the range 1 to 65535`]),
    ...(statusOnError === '' || STATUSES.has(Number(statusOnError)) ? [] : [`statusOnError ${JSON.stringify(statusOnError)} is no status`]),
    ...(pathPrefix === '' || pathPrefix.startsWith('/') ? [] : ['pathPrefix must begin with "/"']),
    ...(lists.some((l) => l?.includes('*')) ? ['a header "*" alone is not supported: write a prefix or a suffix'] : []),
  ];
};

/** Those Envoy has a name for. */
const STATUSES: ReadonlySet<number> = new Set([
  ...[100, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 426, 428, 429, 431],
  ...[500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511],
]);
