// What a route makes of path, host and answer. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'paths are rewritten',
    routes: [
      {
        match: {
          prefix: '/a/',
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/',
        },
      },
      {
        match: {
          path: '/c',
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/x',
        },
      },
      {
        match: {
          safe_regex: {
            regex: '/d.*',
          },
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/x',
        },
      },
      {
        match: {
          path_separated_prefix: '/e',
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/S',
        },
      },
      {
        match: {
          prefix: '/F',
          case_sensitive: false,
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/ci',
        },
      },
      {
        match: {
          prefix: '/g',
        },
        route: {
          cluster: 'c',
          prefix_rewrite: '/',
        },
      },
      {
        match: {
          prefix: '/service',
        },
        route: {
          cluster: 'c',
          regex_rewrite: {
            pattern: {
              regex: '^/service/([^/]+)(/.*)$',
            },
            substitution: '\\2/instance/\\1',
          },
        },
      },
      {
        match: {
          prefix: '/em',
        },
        route: {
          cluster: 'c',
          regex_rewrite: {
            pattern: {
              regex: 'x*',
            },
            substitution: '-',
          },
        },
      },
    ],
    seen: ['path', 'x-envoy-original-path'],
    rows: {
      'GET /a/b?q=1': '200 n0 x1 via_upstream [/b?q=1 /a/b?q=1]',
      'GET /c?z=1': '200 n0 x1 via_upstream [/x?z=1 /c?z=1]',
      'GET /d/1?z': '200 n0 x1 via_upstream [/x?z /d/1?z]',
      'GET /e/f?g': '200 n0 x1 via_upstream [/S/f?g /e/f?g]',
      'GET /fooo': '200 n0 x1 via_upstream [/ciooo /fooo]',
      'GET /g/h': '200 n0 x1 via_upstream [//h /g/h]',
      'GET /service/foo/v1/api?q=1': '200 n0 x1 via_upstream [/v1/api/instance/foo?q=1 /service/foo/v1/api?q=1]',
      'GET /emxy?z': '200 n0 x1 via_upstream [-/-e-m-y-?z /emxy?z]',
    },
  },
  {
    name: 'hosts are rewritten',
    routes: [
      {
        match: {
          prefix: '/lit',
        },
        route: {
          cluster: 'c',
          host_rewrite_literal: 'new.test',
          append_x_forwarded_host: true,
        },
      },
      {
        match: {
          prefix: '/hdr',
        },
        route: {
          cluster: 'c',
          host_rewrite_header: 'x-h',
        },
      },
      {
        match: {
          prefix: '/re',
        },
        route: {
          cluster: 'c',
          host_rewrite_path_regex: {
            pattern: {
              regex: '^/(.+)/.+$',
            },
            substitution: '\\1',
          },
        },
      },
      {
        match: {
          prefix: '/both',
        },
        route: {
          host_rewrite_literal: 'route.test',
          append_x_forwarded_host: true,
          weighted_clusters: {
            clusters: [
              {
                name: 'c',
                weight: 1,
                host_rewrite_literal: 'w.test',
              },
            ],
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          append_x_forwarded_host: true,
          weighted_clusters: {
            clusters: [
              {
                name: 'c',
                weight: 1,
                host_rewrite_literal: 'w.test',
              },
            ],
          },
        },
      },
    ],
    seen: ['host', 'x-forwarded-host', 'x-envoy-original-host'],
    rows: {
      'GET /lit': '200 n0 x1 via_upstream [new.test x.test x.test]',
      'GET /lit\nx-forwarded-host: a.b': '200 n0 x1 via_upstream [new.test a.b,x.test x.test]',
      'GET /lit\nx-forwarded-host: a.b, x.test': '200 n0 x1 via_upstream [new.test a.b, x.test,x.test x.test]',
      'GET /lit\nhost: new.test': '200 n0 x1 via_upstream [new.test new.test new.test]',
      'GET /hdr\nx-h: q.test': '200 n0 x1 via_upstream [q.test  x.test]',
      'GET /hdr': '200 n0 x1 via_upstream [x.test  ]',
      'GET /re/x/y?z': '200 n0 x1 via_upstream [re/x  x.test]',
      'GET /both': '200 n0 x1 via_upstream [route.test w.test w.test]',
      'GET /w': '200 n0 x1 via_upstream [w.test  ]',
    },
  },
  {
    name: 'direct responses',
    routes: [
      {
        match: {
          prefix: '/empty',
        },
        direct_response: {
          status: 204,
        },
      },
      {
        match: {
          prefix: '/201',
        },
        direct_response: {
          status: 201,
          body: {
            inline_string: 'made',
          },
        },
      },
      {
        match: {
          prefix: '/fmt',
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'a',
          },
          body_format: {
            text_format_source: {
              inline_string: '%REQ(x-q)% %RESPONSE_CODE%',
            },
          },
        },
      },
      {
        match: {
          prefix: '/json',
        },
        direct_response: {
          status: 418,
          body_format: {
            json_format: {
              a: '%REQ(:path)%',
              c: 'lit',
            },
          },
        },
      },
      {
        match: {
          prefix: '/own',
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'b',
          },
        },
        response_headers_to_add: [
          {
            header: {
              key: 'content-type',
              value: 'text/html',
            },
            append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
          },
          {
            header: {
              key: 'x-s',
              value: '%RESPONSE_CODE% %REQ(:path)%',
            },
          },
        ],
      },
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'b',
          },
        },
        response_headers_to_remove: ['content-type'],
      },
    ],
    shows: ['content-type', 'content-length', 'location', 'x-s', 'grpc-status', 'grpc-message'],
    rows: {
      'GET /empty': '204 x0 direct_response',
      'GET /201': '201 made x0 direct_response content-type=text/plain content-length=4 location=http://x.test/201',
      'GET /fmt\nx-q: Q': '200 Q 0 x0 direct_response content-type=text/plain content-length=3',
      'GET /json': '418 {"a":"/json","c":"lit"} x0 direct_response content-type=application/json content-length=24',
      'GET /own': '200 b x0 direct_response content-type=text/html content-length=1 x-s=0 /own',
      'GET /b': '200 b x0 direct_response content-type=text/plain content-length=1',
      'POST /own\ncontent-type: application/grpc':
        '200 x0 direct_response content-type=application/grpc content-length=0 x-s=0 /own grpc-status=2 grpc-message=b',
    },
  },
  {
    name: 'mirrors are given to nobody who is not there',
    config: {
      validate_clusters: false,
    },
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster: 'c',
          request_mirror_policies: [
            {
              cluster: 'nope',
            },
            {
              cluster_header: 'x-m',
            },
          ],
        },
      },
    ],
    rows: {
      'GET /': '200 n0 x1 via_upstream',
    },
  },
];

routingTables(TABLES);
