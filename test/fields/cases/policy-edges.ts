// Policy of connections and requests, where a certificate or a server of a route's own decides.
import { connect } from 'node:tls';
import type { AuthzView } from '../../../src/plan/authz/authz-view.ts';
import { compilePolicies } from '../../../src/plan/authz/policies.ts';
import { PlanError } from '../../../src/plan/plan-error.ts';
import type { HttpFilter, Listener_Filter } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { type AuthzServer, grpcAuthz } from '../../proxy/ext-authz-rig.ts';
import { chains, hcm, listener as onLoopback, RawClient, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { HTTP2_CLUSTER } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, listener, live, only } from '../case.ts';
import { ask, bodies } from '../http-probe.ts';

const TYPES = 'type.googleapis.com/envoy.extensions';
const authority = createAuthority('fields');
const server = authority.issue({ dns: 'a.test' });
const own = authority.issue({ uri: 'spiffe://a' });

const who = (uri: string): AuthzView => ({ tls: { peer: { uriSans: [uri], dnsSans: [], subject: '' } } }) as unknown as AuthzView;
const principals: FieldCase = {
  name: 'rbac-principals',
  parts: () => [
    {
      type: 'envoy.config.rbac.v3.RBAC',
      message: {
        policies: {
          known: { permissions: [{ any: true }], principals: [{ authenticated: { principal_name: { exact: 'spiffe://a' } } }] },
        },
      },
    },
  ],
  observe: (parts) => {
    try {
      const policies = compilePolicies(only(parts, 'envoy.config.rbac.v3.RBAC'), false, 'rules');
      return ['spiffe://a', 'spiffe://b'].map((uri) => policies.match(who(uri)));
    } catch (problem) {
      if (problem instanceof PlanError) return problem.path;
      throw problem;
    }
  },
  expect: [0, -1],
};

let authz: AuthzServer;
/** Denies whom it is shown a certificate of. */
const peerCertificates = (name: string, filters: readonly Listener_Filter[], expect: unknown): FieldCase => ({
  name,
  start: async () => {
    authz = await grpcAuthz(({ attributes }) => ((attributes?.source?.certificate ?? '') === '' ? {} : { status: { code: 7 } }));
    return authz;
  },
  parts: () => [
    cluster(staticCluster('grpc', [authz.port], HTTP2_CLUSTER)),
    listener(
      chains('in', [
        {
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': `${TYPES}.transport_sockets.tls.v3.DownstreamTlsContext`,
              require_client_certificate: true,
              common_tls_context: {
                tls_certificates: [
                  { certificate_chain: { inline_string: server.certificate }, private_key: { inline_string: server.key } },
                ],
                validation_context: { trusted_ca: { inline_string: authority.pem } },
              },
            },
          },
          filters,
        },
      ]),
    ),
  ],
  observe: live(async ({ port }) => {
    const client = new RawClient(
      connect({ port: port(), host: '127.0.0.1', ca: authority.pem, servername: 'a.test', cert: own.certificate, key: own.key }),
    );
    const timer = setTimeout(() => client.close(), 1_000);
    const status = await client
      .get('/')
      .then((r) => r.status)
      .catch(() => 'closed');
    clearTimeout(timer);
    client.close();
    return status;
  }),
  expect,
});

const grpc_service = { envoy_grpc: { cluster_name: 'grpc' }, timeout: '1s' };
const ANSWER = { match: { prefix: '/' }, direct_response: { status: 202 } };
const ofConnection = peerCertificates(
  'ext-authz-peer-certificate',
  [
    {
      name: 'envoy.filters.network.ext_authz',
      typed_config: {
        '@type': `${TYPES}.filters.network.ext_authz.v3.ExtAuthz`,
        stat_prefix: 'l4',
        grpc_service,
        include_peer_certificate: true,
      },
    },
    hcm([ANSWER]),
  ],
  'closed',
);
const NAME = 'envoy.filters.http.ext_authz';
/** The filter's own server is not there; the route has one of its own, which must answer in the time it is given. */
const ownServer = (name: string, timeout: string, expect: unknown): FieldCase => ({
  name,
  start: async () => {
    authz = await grpcAuthz(({ attributes }) => (attributes?.request?.http?.path === '/slow' ? 'silent' : {}));
    return authz;
  },
  parts: () => [
    cluster(staticCluster('grpc', [authz.port], HTTP2_CLUSTER)),
    listener(
      onLoopback(
        'in',
        hcm(
          [
            {
              match: { prefix: '/' },
              direct_response: { status: 200, body: { inline_string: 'in' } },
              typed_per_filter_config: {
                [NAME]: {
                  '@type': `${TYPES}.filters.http.ext_authz.v3.ExtAuthzPerRoute`,
                  check_settings: { grpc_service: { envoy_grpc: { cluster_name: 'grpc' }, timeout } },
                },
              },
            },
          ],
          {
            http_filters: [
              {
                name: NAME,
                typed_config: {
                  '@type': `${TYPES}.filters.http.ext_authz.v3.ExtAuthz`,
                  grpc_service: { envoy_grpc: { cluster_name: 'none' }, timeout: '0.1s' },
                },
              },
              ROUTER,
            ],
          },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const from = performance.now();
    const [body] = await bodies(port(), [['/slow']]);
    const slow = performance.now() - from > 450;
    return [...(await bodies(port(), [['/']])), body?.slice(0, 3), slow];
  }),
  expect,
});
const checking = (config: object): HttpFilter => ({
  name: NAME,
  typed_config: { '@type': `${TYPES}.filters.http.ext_authz.v3.ExtAuthz`, grpc_service, ...config },
});
const ofRequest = peerCertificates(
  'ext-authz-request-certificate',
  [hcm([ANSWER], { http_filters: [checking({ include_peer_certificate: true }), ROUTER] })],
  403,
);

/** The second filter tells what the first one's server said. */
const metadataTold: FieldCase = {
  name: 'ext-authz-metadata',
  start: async () => {
    authz = await grpcAuthz(({ attributes }) => {
      const known = attributes?.metadata_context?.filter_metadata?.['envoy.filters.http.ext_authz'];
      return known === undefined ? { ok_response: {}, dynamic_metadata: { user: 'ann' } } : { status: { code: 7 } };
    });
    return authz;
  },
  parts: () => [
    cluster(staticCluster('grpc', [authz.port], HTTP2_CLUSTER)),
    listener(
      onLoopback(
        'in',
        hcm([ANSWER], {
          http_filters: [checking({}), checking({ metadata_context_namespaces: ['envoy.filters.http.ext_authz'] }), ROUTER],
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).status),
  expect: 403,
};

const routeServer = ownServer('ext-authz-route-server', '0.6s', ['in', '403', true]);

export const POLICY_EDGE_CASES: readonly FieldCase[] = [principals, ofConnection, ofRequest, metadataTold, routeServer];
