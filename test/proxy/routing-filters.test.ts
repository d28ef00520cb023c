// Faults and CORS. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'faults by configuration',
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
          abort: {
            http_status: 418,
            percentage: {
              numerator: 100,
            },
          },
          headers: [
            {
              name: 'x',
              present_match: true,
            },
          ],
          upstream_cluster: 'c',
          downstream_nodes: ['n1'],
        },
      },
    ],
    routes: [
      {
        match: {
          prefix: '/d',
        },
        route: {
          cluster: 'dead',
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
      },
    ],
    shows: ['grpc-status'],
    rows: {
      'GET /\nx: 1': '200 n0 x1 via_upstream',
      'GET /': '200 n0 x1 via_upstream',
      'GET /\nx: 1\nx-envoy-downstream-service-node: n1': '418 fault filter abort x0 FI fault_filter_abort',
      'GET /d\nx: 1\nx-envoy-downstream-service-node: n1':
        '503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure x0 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      'POST /\nx: 1\nx-envoy-downstream-service-node: n1\ncontent-type: application/grpc': '200 x0 FI fault_filter_abort grpc-status=2',
    },
  },
  {
    name: 'faults with a status of gRPC',
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
          abort: {
            grpc_status: 5,
            percentage: {
              numerator: 100,
            },
            response_body: 'gone',
          },
        },
      },
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
      },
    ],
    shows: ['grpc-status', 'grpc-message'],
    rows: {
      'GET /': '200 gone x0 FI fault_filter_abort',
      'POST /\ncontent-type: application/grpc': '200 x0 FI fault_filter_abort grpc-status=5 grpc-message=gone',
    },
  },
  {
    name: 'faults on request',
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
          delay: {
            header_delay: {},
            percentage: {
              numerator: 100,
            },
          },
          abort: {
            header_abort: {},
            percentage: {
              numerator: 100,
            },
          },
        },
      },
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
      },
    ],
    shows: ['grpc-status'],
    rows: {
      'GET /': '200 n0 x1 via_upstream',
      'GET /\nx-envoy-fault-abort-request: 503': '503 fault filter abort x0 FI fault_filter_abort',
      'GET /\nx-envoy-fault-abort-request: 503\nx-envoy-fault-abort-request-percentage: 0': '200 n0 x1 via_upstream',
      'GET /\nx-envoy-fault-abort-request: 99': '200 n0 x1 via_upstream',
      'GET /\nx-envoy-fault-abort-request: abc': '200 n0 x1 via_upstream',
      'GET /\nx-envoy-fault-delay-request: 50': '200 n0 x1 DI via_upstream',
      'GET /\nx-envoy-fault-delay-request: 50\nx-envoy-fault-delay-request-percentage: 0': '200 n0 x1 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-envoy-fault-abort-grpc-request: 5': '200 x0 FI fault_filter_abort grpc-status=5',
      'GET /\nx-envoy-fault-abort-request: 503\nx-envoy-fault-abort-request-percentage: abc':
        '503 fault filter abort x0 FI fault_filter_abort',
      'GET /\nx-envoy-fault-delay-request: 20\nx-envoy-fault-abort-request: 503': '503 fault filter abort x0 DI,FI fault_filter_abort',
    },
  },
  {
    name: 'a request cannot make faults likelier',
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
          abort: {
            header_abort: {},
            percentage: {
              numerator: 0,
            },
          },
        },
      },
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
      },
    ],
    rows: {
      'GET /\nx-envoy-fault-abort-request: 503\nx-envoy-fault-abort-request-percentage: 100': '200 n0 x1 via_upstream',
    },
  },
  {
    name: 'no fault beyond max_active_faults',
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
          abort: {
            http_status: 418,
            percentage: {
              numerator: 100,
            },
          },
          max_active_faults: 0,
        },
      },
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
      },
    ],
    rows: {
      'GET /': '200 n0 x1 via_upstream',
    },
  },
  {
    name: 'CORS',
    filters: [
      {
        name: 'envoy.filters.http.cors',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors',
        },
      },
    ],
    shows: [
      'access-control-allow-origin',
      'access-control-allow-methods',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'access-control-expose-headers',
      'access-control-max-age',
      'access-control-allow-private-network',
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
        typed_per_filter_config: {
          'envoy.filters.http.cors': {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
            allow_origin_string_match: [
              {
                exact: 'https://a.test',
              },
            ],
            allow_methods: 'GET,PUT',
            allow_headers: 'x',
            expose_headers: 'e',
            max_age: '60',
            allow_credentials: true,
          },
        },
      },
    ],
    rows: {
      'GET /\norigin: https://a.test':
        '200 n0 x1 via_upstream access-control-allow-origin=https://a.test access-control-allow-credentials=true access-control-expose-headers=e',
      'GET /\norigin: https://evil': '200 n0 x1 via_upstream',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-headers: x-a':
        '200 x0 cors_response access-control-allow-origin=https://a.test access-control-allow-methods=GET,PUT access-control-allow-headers=x access-control-allow-credentials=true access-control-expose-headers=e access-control-max-age=60',
      'OPTIONS /\norigin: https://evil\naccess-control-request-method: PUT': '200 n0 x1 via_upstream',
      'OPTIONS /\norigin: https://a.test':
        '200 n0 x1 via_upstream access-control-allow-origin=https://a.test access-control-allow-credentials=true access-control-expose-headers=e',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-private-network: true':
        '200 x0 cors_response access-control-allow-origin=https://a.test access-control-allow-methods=GET,PUT access-control-allow-headers=x access-control-allow-credentials=true access-control-expose-headers=e access-control-max-age=60',
      'GET /\norigin: https://a.test\nx-plan: 200;access-control-allow-origin=z;access-control-expose-headers=q':
        '200 n0 x1 via_upstream access-control-allow-origin=https://a.test access-control-allow-credentials=true access-control-expose-headers=e',
    },
  },
  {
    name: 'CORS that answers every preflight',
    filters: [
      {
        name: 'envoy.filters.http.cors',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors',
        },
      },
    ],
    shows: [
      'access-control-allow-origin',
      'access-control-allow-methods',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'access-control-expose-headers',
      'access-control-max-age',
      'access-control-allow-private-network',
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
        typed_per_filter_config: {
          'envoy.filters.http.cors': {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
            allow_origin_string_match: [
              {
                exact: 'https://a.test',
              },
            ],
            forward_not_matching_preflights: false,
            allow_private_network_access: true,
          },
        },
      },
    ],
    rows: {
      'GET /\norigin: https://a.test': '200 n0 x1 via_upstream access-control-allow-origin=https://a.test',
      'GET /\norigin: https://evil': '200 n0 x1 via_upstream',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-headers: x-a':
        '200 x0 cors_response access-control-allow-origin=https://a.test',
      'OPTIONS /\norigin: https://evil\naccess-control-request-method: PUT': '200 x0 cors_response',
      'OPTIONS /\norigin: https://a.test': '200 n0 x1 via_upstream access-control-allow-origin=https://a.test',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-private-network: true':
        '200 x0 cors_response access-control-allow-origin=https://a.test access-control-allow-private-network=true',
      'GET /\norigin: https://a.test\nx-plan: 200;access-control-allow-origin=z;access-control-expose-headers=q':
        '200 n0 x1 via_upstream access-control-allow-origin=https://a.test access-control-expose-headers=q',
    },
  },
  {
    name: 'CORS for everybody',
    filters: [
      {
        name: 'envoy.filters.http.cors',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors',
        },
      },
    ],
    shows: [
      'access-control-allow-origin',
      'access-control-allow-methods',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'access-control-expose-headers',
      'access-control-max-age',
      'access-control-allow-private-network',
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
        typed_per_filter_config: {
          'envoy.filters.http.cors': {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
            allow_origin_string_match: [
              {
                exact: '*',
              },
            ],
            allow_methods: '*',
            allow_headers: '*',
          },
        },
      },
    ],
    rows: {
      'GET /\norigin: https://a.test': '200 n0 x1 via_upstream access-control-allow-origin=https://a.test',
      'GET /\norigin: https://evil': '200 n0 x1 via_upstream access-control-allow-origin=https://evil',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-headers: x-a':
        '200 x0 cors_response access-control-allow-origin=https://a.test access-control-allow-methods=PUT access-control-allow-headers=x-a',
      'OPTIONS /\norigin: https://evil\naccess-control-request-method: PUT':
        '200 x0 cors_response access-control-allow-origin=https://evil access-control-allow-methods=PUT access-control-allow-headers=',
      'OPTIONS /\norigin: https://a.test': '200 n0 x1 via_upstream access-control-allow-origin=https://a.test',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-private-network: true':
        '200 x0 cors_response access-control-allow-origin=https://a.test access-control-allow-methods=PUT access-control-allow-headers=',
      'GET /\norigin: https://a.test\nx-plan: 200;access-control-allow-origin=z;access-control-expose-headers=q':
        '200 n0 x1 via_upstream access-control-allow-origin=https://a.test access-control-expose-headers=q',
    },
  },
  {
    name: 'CORS that is off',
    filters: [
      {
        name: 'envoy.filters.http.cors',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors',
        },
      },
    ],
    shows: [
      'access-control-allow-origin',
      'access-control-allow-methods',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'access-control-expose-headers',
      'access-control-max-age',
      'access-control-allow-private-network',
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
        },
        typed_per_filter_config: {
          'envoy.filters.http.cors': {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
            allow_origin_string_match: [
              {
                exact: 'https://a.test',
              },
            ],
            filter_enabled: {
              default_value: {
                numerator: 0,
              },
            },
            shadow_enabled: {
              default_value: {
                numerator: 100,
              },
            },
          },
        },
      },
    ],
    rows: {
      'GET /\norigin: https://a.test': '200 n0 x1 via_upstream',
      'GET /\norigin: https://evil': '200 n0 x1 via_upstream',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-headers: x-a':
        '200 n0 x1 via_upstream',
    },
  },
  {
    name: 'CORS where nothing is forwarded',
    filters: [
      {
        name: 'envoy.filters.http.cors',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors',
        },
      },
    ],
    shows: [
      'access-control-allow-origin',
      'access-control-allow-methods',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'access-control-expose-headers',
      'access-control-max-age',
      'access-control-allow-private-network',
    ],
    routes: [
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'x',
          },
        },
        typed_per_filter_config: {
          'envoy.filters.http.cors': {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
            allow_origin_string_match: [
              {
                exact: 'https://a.test',
              },
            ],
          },
        },
      },
    ],
    rows: {
      'GET /\norigin: https://a.test': '200 x x0 direct_response',
      'GET /\norigin: https://evil': '200 x x0 direct_response',
      'OPTIONS /\norigin: https://a.test\naccess-control-request-method: PUT\naccess-control-request-headers: x-a':
        '200 x x0 direct_response',
    },
  },
];

routingTables(TABLES);
