// Configuration that is only ever taken or refused: what is not there to be used is refused by the path of its field.
import { PlanError } from '../../../src/plan/plan-error.ts';
import type { AnyMessage, Listener } from '../../../src/xds/gen/types.ts';
import { chains, hcm, listener as onLoopback, staticCluster, tcpProxy } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';

const answers = () => hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }]);

/** What a listener is refused for, or that it is taken. */
const taken = (name: string, config: Listener, expect: string): FieldCase => ({
  name,
  parts: () => [listener(config)],
  observe: async (parts) => {
    try {
      return await live(async ({ plane }) => [...plane.listeners()].map((l) => l.name).join())(parts);
    } catch (problem) {
      if (problem instanceof PlanError) return `refused ${problem.path}`;
      throw problem;
    }
  },
  expect,
});
const balanced = taken(
  'connection-balance',
  onLoopback('in', answers(), {
    connection_balance_config: {
      extend_balance: { name: 'any', typed_config: { '@type': 'type.googleapis.com/google.protobuf.Struct' } as AnyMessage },
    },
  }),
  'refused connection_balance_config.extend_balance',
);
const sharedState = taken(
  'shared-filter-state',
  chains('in', [
    {
      filters: [
        {
          name: 'state',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config',
            on_new_connection: [
              {
                object_key: 'envoy.string',
                format_string: { text_format_source: { inline_string: 'a' } },
                shared_with_upstream: 'ONCE',
              },
            ],
          },
        },
        tcpProxy('none'),
      ],
    },
  ]),
  'refused filter_chains[0].filters[0].typed_config.on_new_connection[0].shared_with_upstream',
);
const runtimeKey = taken(
  'connection-limit-runtime',
  chains('in', [
    {
      filters: [
        {
          name: 'limit',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
            stat_prefix: 'l',
            max_connections: 1,
            runtime_enabled: { default_value: true, runtime_key: 'key' },
          },
        },
        tcpProxy('none'),
      ],
    },
  ]),
  'refused filter_chains[0].filters[0].typed_config.runtime_enabled.runtime_key',
);
const plainSocket = taken(
  'plain-socket-by-name',
  chains('in', [{ transport_socket: { name: 'envoy.transport_sockets.raw_buffer' }, filters: [answers()] }]),
  'in',
);

const UPSTREAM = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions' as const;
const upstreamFilters: FieldCase = {
  name: 'upstream-filters',
  parts: () => [
    cluster(
      staticCluster('c', [1], {
        typed_extension_protocol_options: {
          [UPSTREAM]: {
            '@type': `type.googleapis.com/${UPSTREAM}`,
            explicit_http_config: { http_protocol_options: {} },
            http_filters: [{ name: 'mine' }],
          },
        },
      }),
    ),
  ],
  observe: async (parts) => {
    try {
      return await live(async () => 'taken')(parts);
    } catch (problem) {
      return problem instanceof PlanError ? `refused ${problem.path.split('.').at(-1)}` : String(problem);
    }
  },
  expect: 'refused http_filters',
};
const otherFilter: FieldCase = {
  ...upstreamFilters,
  name: 'cluster-filters',
  parts: () => [
    cluster(
      staticCluster('c', [1], {
        filters: [
          { name: 'mine', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo' } as AnyMessage },
        ],
      }),
    ),
  ],
  expect: 'refused filters[0]',
};
const peerFilter: FieldCase = {
  ...upstreamFilters,
  name: 'cluster-peer-filter',
  parts: () => [
    cluster(
      staticCluster('c', [1], {
        filters: [{ name: 'mine', typed_config: { '@type': 'type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange' } }],
      }),
    ),
  ],
  expect: 'taken',
};

/** Routes in a listener may lead to what is not there yet when they say so. */
const unchecked = taken(
  'routes-unchecked',
  onLoopback(
    'in',
    hcm([], {
      route_config: {
        name: 'r',
        validate_clusters: false,
        virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'none' } }] }],
      },
    }),
  ),
  'in',
);

export const TAKEN_CASES: readonly FieldCase[] = [
  balanced,
  upstreamFilters,
  otherFilter,
  peerFilter,
  sharedState,
  runtimeKey,
  plainSocket,
  unchecked,
];
