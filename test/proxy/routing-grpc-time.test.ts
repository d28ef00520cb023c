// How long gRPC calls and streams may take, and what their upstream is told. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'grpc-timeout and the route',
    routes: [
      {
        match: {
          prefix: '/zero',
        },
        route: {
          cluster: 'c',
          max_grpc_timeout: '0s',
          timeout: '9s',
        },
      },
      {
        match: {
          prefix: '/cap',
        },
        route: {
          cluster: 'c',
          max_grpc_timeout: '0.2s',
          grpc_timeout_offset: '0.05s',
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          timeout: '7s',
        },
      },
    ],
    seen: ['grpc-timeout', 'x-envoy-expected-rq-timeout-ms'],
    rows: {
      'POST /zero\ncontent-type: application/grpc': '200 n0 x1 via_upstream [ 0]',
      'POST /zero\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [200m 200]',
      'POST /zero\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5000m 5000]',
      'POST /zero\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 9000]',
      'POST /zero\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [9x 0]',
      'POST /cap\ncontent-type: application/grpc': '200 n0 x1 via_upstream [200m 200]',
      'POST /cap\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [150m 200]',
      'POST /cap\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [200m 200]',
      'POST /cap\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 15000]',
      'POST /cap\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [200m 200]',
      'POST /plain\ncontent-type: application/grpc': '200 n0 x1 via_upstream [ 7000]',
      'POST /plain\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [200m 7000]',
      'POST /plain\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 7000]',
      'POST /plain\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 7000]',
      'POST /plain\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [9x 7000]',
      'POST /cap\ncontent-type: application/grpc\ngrpc-timeout: 5S\nx-plan: silent': '200 x1 UT response_timeout [200m 200]',
    },
  },
  {
    name: 'max_stream_duration stands for the timeout',
    routes: [
      {
        match: {
          prefix: '/new',
        },
        route: {
          cluster: 'c',
          max_stream_duration: {
            grpc_timeout_header_max: '0.3s',
            grpc_timeout_header_offset: '0.1s',
          },
        },
      },
      {
        match: {
          prefix: '/msd',
        },
        route: {
          cluster: 'c',
          max_stream_duration: {
            max_stream_duration: '0.2s',
          },
          timeout: '0.1s',
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          max_stream_duration: {
            grpc_timeout_header_max: '0s',
            max_stream_duration: '0.5s',
          },
        },
      },
    ],
    seen: ['grpc-timeout', 'x-envoy-expected-rq-timeout-ms'],
    shows: ['grpc-status'],
    rows: {
      'POST /new\ncontent-type: application/grpc': '200 n0 x1 via_upstream [ 0]',
      'POST /new\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [100m 0]',
      'POST /new\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [200m 0]',
      'POST /new\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 0]',
      'POST /new\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [9x 0]',
      'POST /new\ngrpc-timeout: 150m\nx-plan: silent': '504 downstream duration timeout x1 max_duration_timeout [150m 0]',
      'POST /msd\ncontent-type: application/grpc': '200 n0 x1 via_upstream [200m 0]',
      'POST /msd\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [200m 0]',
      'POST /msd\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [200m 0]',
      'POST /msd\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 0]',
      'POST /msd\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [200m 0]',
      'POST /msd\ngrpc-timeout: 150m\nx-plan: silent': '504 downstream duration timeout x1 max_duration_timeout [150m 0]',
      'POST /nz\ncontent-type: application/grpc': '200 n0 x1 via_upstream [500m 0]',
      'POST /nz\ncontent-type: application/grpc\ngrpc-timeout: 200m': '200 n0 x1 via_upstream [200m 0]',
      'POST /nz\ncontent-type: application/grpc\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5000m 0]',
      'POST /nz\ngrpc-timeout: 5S': '200 n0 x1 via_upstream [5S 0]',
      'POST /nz\ncontent-type: application/grpc\ngrpc-timeout: 9x': '200 n0 x1 via_upstream [500m 0]',
      'POST /nz\ngrpc-timeout: 150m\nx-plan: silent': '504 downstream duration timeout x1 max_duration_timeout [150m 0]',
      'POST /msd\ncontent-type: application/grpc\ngrpc-timeout: 5S\nx-plan: silent': '200 x1 max_duration_timeout grpc-status=4 [200m 0]',
    },
  },
];

routingTables(TABLES);
