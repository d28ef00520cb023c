// Attempts: what they are told, how long they may take, what happens when one after the other or several at once are under way. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'retry count and time-outs are told',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
            per_try_timeout: '0.1s',
          },
        },
      },
    ],
    host: {
      include_request_attempt_count: true,
      include_attempt_count_in_response: true,
      include_is_timeout_retry_header: true,
    },
    shows: ['x-envoy-attempt-count'],
    seen: ['x-envoy-attempt-count', 'x-envoy-is-timeout-retry', 'x-envoy-expected-rq-timeout-ms'],
    rows: {
      'GET /\nx-plan: 503|200': '200 n1 x2 via_upstream x-envoy-attempt-count=2 [1  100] [2 false 100]',
      'GET /\nx-plan: silent|503|200': '200 n2 x3 via_upstream x-envoy-attempt-count=3 [1  100] [2 true 100] [3 false 100]',
      'GET /\nx-plan: silent':
        '504 upstream request timeout x3 URX,UT upstream_per_try_timeout x-envoy-attempt-count=3 [1  100] [2 true 100] [3 true 100]',
    },
  },
  {
    name: 'an attempt that falls silent',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
            per_try_idle_timeout: '0.1s',
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: silent|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: silent': '504 upstream request timeout x3 URX,UT upstream_per_try_idle_timeout',
    },
  },
  {
    name: 'a per-try time-out that nothing retries',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: 'connect-failure',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
            per_try_timeout: '0.1s',
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: silent': '504 upstream request timeout x1 UT upstream_per_try_timeout',
    },
  },
  {
    name: 'no retries',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 0,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: 503': '503 n0 x1 URX via_upstream',
    },
  },
  {
    name: 'a retry limit of the cluster',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    cluster: {
      circuit_breakers: {
        thresholds: [
          {
            max_retries: 0,
          },
        ],
      },
    },
    rows: {
      'GET /\nx-plan: 503|200': '503 n0 x1 UO via_upstream',
      'GET /\nx-plan: reset|200':
        '503 upstream connect error or disconnect/reset before headers. reset reason: connection termination x1 UO,UC upstream_reset_before_response_started{connection_termination}',
    },
  },
  {
    name: 'hedging: the first good answer wins',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          timeout: '2s',
          hedge_policy: {
            hedge_on_per_try_timeout: true,
          },
          retry_policy: {
            retry_on: '5xx',
            num_retries: 2,
            per_try_timeout: '0.1s',
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    host: {
      include_attempt_count_in_response: true,
    },
    shows: ['x-envoy-attempt-count', 'w'],
    seen: ['x-envoy-expected-rq-timeout-ms'],
    rows: {
      'GET /\nx-plan: slow450:200;w=1|silent': '200 n0 x3 URX via_upstream x-envoy-attempt-count=3 w=1 [2000] [2000] [2000]',
      'GET /\nx-plan: silent|200;w=2': '200 n1 x2 via_upstream x-envoy-attempt-count=2 w=2 [2000] [2000]',
      'GET /\nx-plan: slow450:503;w=1|slow700:200;w=2': '200 n1 x3 URX via_upstream x-envoy-attempt-count=3 w=2 [2000] [2000] [2000]',
      'GET /\nx-plan: slow450:200;w=1|503;w=2': '200 n0 x3 URX via_upstream x-envoy-attempt-count=3 w=1 [2000] [2000] [2000]',
      'GET /\nx-plan: slow450:reset|slow700:200;w=2': '200 n1 x3 URX via_upstream x-envoy-attempt-count=3 w=2 [2000] [2000] [2000]',
    },
  },
  {
    name: 'hedging on request',
    hcm: {
      use_remote_address: true,
      internal_address_config: {
        cidr_ranges: [
          {
            address_prefix: '127.0.0.0',
            prefix_len: 8,
          },
        ],
      },
    },
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
    shows: ['w'],
    rows: {
      'GET /\nx-envoy-hedge-on-per-try-timeout: true\nx-envoy-upstream-rq-timeout-ms: 1800\nx-envoy-upstream-rq-per-try-timeout-ms: 300\nx-envoy-retry-on: 5xx\nx-plan: slow550:200;w=1|slow1200:200':
        '200 n0 x2 via_upstream w=1',
      'GET /\nx-envoy-hedge-on-per-try-timeout: true\nx-envoy-upstream-rq-timeout-ms: 1500\nx-envoy-upstream-rq-per-try-timeout-ms: 100\nx-plan: slow250:200;w=1|slow400:200':
        '200 n0 x1 via_upstream w=1',
    },
  },
  {
    name: 'a route without a cluster that is there',
    config: {
      validate_clusters: false,
    },
    routes: [
      {
        match: {
          prefix: '/404',
        },
        route: {
          cluster: 'nope',
          cluster_not_found_response_code: 'NOT_FOUND',
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'nope',
        },
      },
    ],
    rows: {
      'GET /': '503 x0 NC cluster_not_found',
      'GET /404': '404 x0 NC cluster_not_found',
      'POST /\ncontent-type: application/grpc': '200 x0 NC cluster_not_found',
    },
  },
  {
    name: 'upgrades are tried again',
    hcm: {
      upgrade_configs: [
        {
          upgrade_type: 'websocket',
        },
      ],
    },
    host: {
      include_attempt_count_in_response: true,
    },
    shows: ['x-envoy-attempt-count'],
    routes: [
      {
        match: {
          prefix: '/dead',
        },
        route: {
          cluster: 'dead',
          retry_policy: {
            retry_on: 'connect-failure',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    rows: {
      'GET /dead\nconnection: upgrade\nupgrade: websocket':
        '503 upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure x0 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} x-envoy-attempt-count=3',
      'GET /\nconnection: upgrade\nupgrade: websocket\nx-plan: 503|404': '404 n1 x2 via_upstream x-envoy-attempt-count=2',
      'GET /\nconnection: upgrade\nupgrade: websocket\nx-plan: 503|200': '200 x2 websocket_handshake_unsuccessful',
    },
  },
  {
    name: 'answers of the router tell how many attempts there were',
    host: {
      include_attempt_count_in_response: true,
    },
    config: {
      validate_clusters: false,
    },
    shows: ['x-envoy-attempt-count'],
    routes: [
      {
        match: {
          prefix: '/nope',
        },
        route: {
          cluster: 'nope',
        },
      },
      {
        match: {
          prefix: '/dead',
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
          timeout: '0.1s',
        },
      },
    ],
    rows: {
      'GET /nope': '503 x0 NC cluster_not_found',
      'GET /dead':
        '503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure x0 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} x-envoy-attempt-count=1',
      'GET /\nx-plan: silent': '504 upstream request timeout x1 UT response_timeout x-envoy-attempt-count=1',
    },
  },
];

routingTables(TABLES);
