// Retries: what is tried again, how often, after how long, and what the attempts are told. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'what another proxy expects counts when it is respected',
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
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
            respect_expected_rq_timeout: true,
          },
        },
      ],
    },
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          timeout: '3s',
        },
      },
    ],
    seen: ['x-envoy-expected-rq-timeout-ms', 'x-envoy-upstream-rq-timeout-ms'],
    rows: {
      'GET /': '200 n0 x1 via_upstream [3000 0]',
      'GET /\nx-envoy-expected-rq-timeout-ms: 150\nx-plan: silent': '504 upstream request timeout x1 UT response_timeout [200 0]',
      'GET /\nx-envoy-expected-rq-timeout-ms: 400\nx-envoy-upstream-rq-timeout-ms: 100': '200 n0 x1 via_upstream [400 100]',
      'GET /\nx-envoy-upstream-rq-timeout-ms: 200': '200 n0 x1 via_upstream [200 0]',
    },
  },
  {
    name: 'headers that make no sense are refused when asked to',
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
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
            strict_check_headers: [
              'x-envoy-upstream-rq-timeout-ms',
              'x-envoy-upstream-rq-per-try-timeout-ms',
              'x-envoy-max-retries',
              'x-envoy-retry-on',
              'x-envoy-retry-grpc-on',
            ],
          },
        },
      ],
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
    rows: {
      'GET /\nx-envoy-retry-on: 5xx, reset': '200 n0 x1 via_upstream',
      'GET /\nx-envoy-retry-on: 5xx,nonsense':
        "400 invalid header 'x-envoy-retry-on' with value '5xx,nonsense' x0 IH request_headers_failed_strict_check{x-envoy-retry-on}",
      'GET /\nx-envoy-retry-on: cancelled':
        "400 invalid header 'x-envoy-retry-on' with value 'cancelled' x0 IH request_headers_failed_strict_check{x-envoy-retry-on}",
      'GET /\nx-envoy-retry-grpc-on: 5xx':
        "400 invalid header 'x-envoy-retry-grpc-on' with value '5xx' x0 IH request_headers_failed_strict_check{x-envoy-retry-grpc-on}",
      'GET /\nx-envoy-max-retries: many':
        "400 invalid header 'x-envoy-max-retries' with value 'many' x0 IH request_headers_failed_strict_check{x-envoy-max-retries}",
      'GET /\nx-envoy-upstream-rq-timeout-ms: -1':
        "400 invalid header 'x-envoy-upstream-rq-timeout-ms' with value '-1' x0 IH request_headers_failed_strict_check{x-envoy-upstream-rq-timeout-ms}",
      'GET /\nx-envoy-upstream-rq-per-try-timeout-ms: 10ms':
        "400 invalid header 'x-envoy-upstream-rq-per-try-timeout-ms' with value '10ms' x0 IH request_headers_failed_strict_check{x-envoy-upstream-rq-per-try-timeout-ms}",
      'GET /\nx-envoy-retry-on:': '200 n0 x1 via_upstream',
    },
  },
  {
    name: 'retry on 5xx',
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
    rows: {
      'GET /\nx-plan: 503|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 500': '500 n2 x3 URX via_upstream',
      'GET /\nx-plan: 503;x-envoy-overloaded=true|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 503;x-envoy-ratelimited=true|200': '503 n0 x1 via_upstream',
      'GET /\nx-plan: reset|200': '200 n1 x2 via_upstream',
      'POST /\nx-plan: 503|200\n\nbody': '200 n1 x2 via_upstream',
    },
  },
  {
    name: 'retry on gateway-error',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: 'gateway-error',
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
      'GET /\nx-plan: 500|200': '500 n0 x1 via_upstream',
      'GET /\nx-plan: 502|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: reset|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: silent|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: silent': '504 upstream request timeout x3 URX,UT upstream_per_try_timeout',
    },
  },
  {
    name: 'retry on listed codes, headers and rate limits',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: 'retriable-4xx,retriable-status-codes,retriable-headers,envoy-ratelimited',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
            retriable_status_codes: [418],
            retriable_headers: [
              {
                name: 'x-again',
                string_match: {
                  exact: 'yes',
                },
              },
              {
                name: ':status',
                string_match: {
                  exact: '207',
                },
              },
            ],
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: 409|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 404|200': '404 n0 x1 via_upstream',
      'GET /\nx-plan: 418|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 200;x-again=yes|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 200;x-again=no|200': '200 n0 x1 via_upstream',
      'GET /\nx-plan: 429;x-envoy-ratelimited=true|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: 207|200': '200 n1 x2 via_upstream',
    },
  },
  {
    name: 'retry on gRPC statuses',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: 'cancelled,deadline-exceeded,internal,resource-exhausted,unavailable',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    rows: {
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=1|200': '200 n1 x2 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=2|200': '200 n0 x1 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=4|200': '200 n1 x2 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=8|200': '200 n1 x2 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=13|200': '200 n1 x2 via_upstream',
      'POST /\ncontent-type: application/grpc\nx-plan: 200;grpc-status=14|200': '200 n1 x2 via_upstream',
      'GET /\nx-plan: reset|200':
        '503 upstream connect error or disconnect/reset before headers. reset reason: connection termination x1 UC upstream_reset_before_response_started{connection_termination}',
    },
  },
  {
    name: 'retry on reset-before-request',
    routes: [
      {
        match: {
          prefix: '/dead',
        },
        route: {
          cluster: 'dead',
          retry_policy: {
            retry_on: 'reset-before-request',
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
            retry_on: 'reset-before-request',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: reset|200':
        '503 upstream connect error or disconnect/reset before headers. reset reason: connection termination x1 UC upstream_reset_before_response_started{connection_termination}',
      'GET /dead':
        '503 upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure x0 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
    },
  },
  {
    name: 'retry on connect-failure and refused-stream',
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
          cluster: 'dead',
          retry_policy: {
            retry_on: 'refused-stream',
            num_retries: 2,
            retry_back_off: {
              base_interval: '0.001s',
            },
          },
        },
      },
    ],
    rows: {
      'GET /dead':
        '503 upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure x0 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      'GET /':
        '503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure x0 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
    },
  },
  {
    name: 'retry headers of an internal client',
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
          prefix: '/p',
        },
        route: {
          cluster: 'c',
          retry_policy: {
            retry_on: '5xx',
            num_retries: 1,
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
          timeout: '3s',
        },
      },
    ],
    seen: ['x-envoy-expected-rq-timeout-ms', 'x-envoy-max-retries', 'x-envoy-upstream-alt-stat-name'],
    rows: {
      'GET /\nx-envoy-retry-on: 5xx\nx-plan: 503|200': '200 n1 x2 via_upstream [3000  ] [3000  ]',
      'GET /\nx-envoy-retry-on: 5xx\nx-envoy-max-retries: 3\nx-plan: 503|503|503|200':
        '200 n3 x4 via_upstream [3000  ] [3000  ] [3000  ] [3000  ]',
      'GET /p\nx-envoy-max-retries: 0\nx-plan: 503|200': '503 n0 x1 URX via_upstream [15000  ]',
      'GET /p\nx-envoy-max-retries: abc\nx-plan: 503|200': '200 n1 x2 via_upstream [15000  ] [15000  ]',
      'GET /\nx-envoy-retry-grpc-on: unavailable\nx-plan: 200;grpc-status=14|200': '200 n1 x2 via_upstream [3000  ] [3000  ]',
      'GET /\nx-envoy-retry-on: unavailable\nx-plan: 200;grpc-status=14|200': '200 n0 x1 via_upstream [3000  ]',
      'GET /\nx-envoy-retry-on: retriable-status-codes\nx-envoy-retriable-status-codes: 418, 419\nx-plan: 419|200':
        '200 n1 x2 via_upstream [3000  ] [3000  ]',
      'GET /\nx-envoy-retry-on: retriable-headers\nx-envoy-retriable-header-names: X-Upstream-Retry, b\nx-plan: 200;x-upstream-retry=1|200':
        '200 n1 x2 via_upstream [3000  ] [3000  ]',
      'GET /\nx-envoy-upstream-rq-timeout-ms: 100\nx-plan: silent': '504 upstream request timeout x1 UT response_timeout [100  ]',
      'GET /\nx-envoy-upstream-rq-timeout-ms: 400\nx-envoy-upstream-rq-per-try-timeout-ms: 100\nx-envoy-retry-on: 5xx\nx-plan: silent|200':
        '200 n1 x2 via_upstream [100  ] [100  ]',
      'GET /\nx-envoy-upstream-alt-stat-name: q': '200 n0 x1 via_upstream [3000  ]',
      'GET /\nx-envoy-expected-rq-timeout-ms: 77': '200 n0 x1 via_upstream [3000  ]',
    },
  },
  {
    name: 'retry headers of an external client are not heard',
    hcm: {
      use_remote_address: true,
    },
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
      'GET /\nx-envoy-retry-on: 5xx\nx-envoy-max-retries: 2\nx-plan: 503|200': '503 n0 x1 URX via_upstream',
    },
  },
  {
    name: 'retry only requests that qualify',
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
            retriable_request_headers: [
              {
                name: ':method',
                string_match: {
                  exact: 'GET',
                },
              },
              {
                name: 'x-retry-me',
                present_match: true,
              },
            ],
          },
        },
      },
    ],
    rows: {
      'GET /\nx-plan: 503|200': '200 n1 x2 via_upstream',
      'POST /\nx-plan: 503|200': '503 n0 x1 via_upstream',
      'POST /\nx-retry-me: 1\nx-plan: 503|200': '200 n1 x2 via_upstream',
    },
  },
];

routingTables(TABLES);
