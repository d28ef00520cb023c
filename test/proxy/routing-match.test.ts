// Which route takes a request. Every row is what a stock Envoy 1.40 does; see routing-rig.ts.
import { type RoutingTable, routingTables } from './routing-rig.ts';

const TABLES: readonly RoutingTable[] = [
  {
    name: 'paths',
    routes: [
      {
        match: {
          prefix: '/AbC',
          case_sensitive: false,
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'ci',
          },
        },
      },
      {
        match: {
          path: '/ExAct',
          case_sensitive: false,
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'ciexact',
          },
        },
      },
      {
        match: {
          path_separated_prefix: '/Sep',
          case_sensitive: false,
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'cisep',
          },
        },
      },
      {
        match: {
          safe_regex: {
            regex: '/re[a-z]+',
          },
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 're',
          },
        },
      },
      {
        match: {
          path_separated_prefix: '/a/b',
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'sep',
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 404,
          body: {
            inline_string: 'no',
          },
        },
      },
    ],
    rows: {
      'GET /aBcd': '200 ci x0 direct_response',
      'GET /exact?q': '200 ciexact x0 direct_response',
      'GET /sep/x': '200 cisep x0 direct_response',
      'GET /sepx': '404 no x0 direct_response',
      'GET /rea?x': '200 re x0 direct_response',
      'GET /REA': '404 no x0 direct_response',
      'GET /a/b': '200 sep x0 direct_response',
      'GET /a/b/': '200 sep x0 direct_response',
      'GET /a/bc': '404 no x0 direct_response',
      'GET /a/b?x': '200 sep x0 direct_response',
    },
  },
  {
    name: 'path templates',
    routes: [
      {
        match: {
          path_match_policy: {
            name: 't',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
              path_template: '/v1/{id}/x/*/{rest=**}',
            },
          },
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'T1',
          },
        },
      },
      {
        match: {
          path_match_policy: {
            name: 't',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
              path_template: '/{country}/{lang=*}/{f=**}.m3u8',
            },
          },
        },
        route: {
          cluster: 'c',
          path_rewrite_policy: {
            name: 'r',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig',
              path_template_rewrite: '/{lang}/{country}/z/{f}',
            },
          },
        },
      },
      {
        match: {
          path_match_policy: {
            name: 't',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
              path_template: '/lit/*/end',
            },
          },
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'L',
          },
        },
      },
      {
        match: {
          path_match_policy: {
            name: 't',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
              path_template: '/pre/{a=b/*}/c/**',
            },
          },
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'P',
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 404,
          body: {
            inline_string: 'no',
          },
        },
      },
    ],
    seen: ['path'],
    rows: {
      'GET /v1/7/x/y/z/w': '200 T1 x0 direct_response',
      'GET /v1/7/x/y': '404 no x0 direct_response',
      'GET /v1/7/x/y/': '200 T1 x0 direct_response',
      'GET /v1/7/x/y/z?q=1': '200 T1 x0 direct_response',
      'GET /us/en/a/b.m3u8': '200 n0 x1 via_upstream [/en/us/z/a/b]',
      'GET /us/en/b.m3u8?k=v': '200 n0 x1 via_upstream [/en/us/z/b?k=v]',
      'GET /us/en/b.mp4': '404 no x0 direct_response',
      'GET /lit/a/end': '200 L x0 direct_response',
      'GET /lit//end': '404 no x0 direct_response',
      'GET /lit/a/b/end': '404 no x0 direct_response',
      'GET /pre/b/q/c/': '200 P x0 direct_response',
      'GET /pre/b/q/c': '404 no x0 direct_response',
      'GET /pre/b/c': '404 no x0 direct_response',
      'GET /lit/a%20b/end': '200 L x0 direct_response',
      "GET /lit/a!$&'()+,=/end": '200 L x0 direct_response',
    },
  },
  {
    name: 'headers that are not there',
    routes: [
      {
        match: {
          prefix: '/pres',
          headers: [
            {
              name: 'x',
              present_match: true,
              treat_missing_header_as_empty: true,
            },
          ],
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: '1',
          },
        },
      },
      {
        match: {
          prefix: '/not',
          headers: [
            {
              name: 'x',
              present_match: false,
              treat_missing_header_as_empty: true,
            },
          ],
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: '1',
          },
        },
      },
      {
        match: {
          prefix: '/inv',
          headers: [
            {
              name: 'x',
              string_match: {
                exact: 'a',
              },
              invert_match: true,
            },
          ],
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: '1',
          },
        },
      },
      {
        match: {
          prefix: '/miss',
          headers: [
            {
              name: 'x',
              string_match: {
                exact: 'a',
              },
              invert_match: true,
              treat_missing_header_as_empty: true,
            },
          ],
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: '1',
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 404,
          body: {
            inline_string: 'no',
          },
        },
      },
    ],
    rows: {
      'GET /pres': '200 1 x0 direct_response',
      'GET /pres\nx: a': '200 1 x0 direct_response',
      'GET /pres\nx: b': '200 1 x0 direct_response',
      'GET /not': '404 no x0 direct_response',
      'GET /not\nx: a': '404 no x0 direct_response',
      'GET /not\nx: b': '404 no x0 direct_response',
      'GET /inv': '404 no x0 direct_response',
      'GET /inv\nx: a': '404 no x0 direct_response',
      'GET /inv\nx: b': '200 1 x0 direct_response',
      'GET /miss': '200 1 x0 direct_response',
      'GET /miss\nx: a': '404 no x0 direct_response',
      'GET /miss\nx: b': '200 1 x0 direct_response',
    },
  },
  {
    name: 'gRPC',
    routes: [
      {
        match: {
          prefix: '/',
          grpc: {},
        },
        direct_response: {
          status: 200,
          body: {
            inline_string: 'M',
          },
        },
      },
      {
        match: {
          prefix: '/',
        },
        direct_response: {
          status: 404,
          body: {
            inline_string: 'no',
          },
        },
      },
    ],
    shows: ['grpc-status', 'grpc-message'],
    rows: {
      'GET /\ncontent-type: application/grpc': '200 x0 direct_response grpc-status=2 grpc-message=M',
      'GET /\ncontent-type: application/grpc+json': '200 x0 direct_response grpc-status=2 grpc-message=M',
      'GET /\ncontent-type: application/grpc-web': '404 no x0 direct_response',
      'GET /\ncontent-type: application/grpc;x': '404 no x0 direct_response',
      'GET /': '404 no x0 direct_response',
    },
  },
  {
    name: 'weights by a number the request brings',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          weighted_clusters: {
            header_name: 'x-w',
            total_weight: 100,
            clusters: [
              {
                name: 'c',
                weight: 10,
                request_headers_to_add: [
                  {
                    header: {
                      key: 'w',
                      value: 'first',
                    },
                  },
                ],
              },
              {
                name: 'c',
                weight: 10,
                request_headers_to_add: [
                  {
                    header: {
                      key: 'w',
                      value: 'second',
                    },
                  },
                ],
              },
            ],
          },
        },
      },
    ],
    seen: ['w'],
    rows: {
      'GET /\nx-w: 0': '200 n0 x1 via_upstream [first]',
      'GET /\nx-w: 9': '200 n0 x1 via_upstream [first]',
      'GET /\nx-w: 10': '200 n0 x1 via_upstream [second]',
      'GET /\nx-w: 19': '200 n0 x1 via_upstream [second]',
      'GET /\nx-w: 20': '200 n0 x1 via_upstream [first]',
      'GET /\nx-w: 35': '200 n0 x1 via_upstream [second]',
      'GET /\nx-w: 18446744073709551615': '200 n0 x1 via_upstream [second]',
    },
  },
  {
    name: 'weights by hash',
    routes: [
      {
        match: {
          prefix: '/',
        },
        route: {
          hash_policy: [
            {
              header: {
                header_name: 'k',
              },
            },
          ],
          weighted_clusters: {
            use_hash_policy: true,
            clusters: [
              {
                name: 'c',
                weight: 50,
                request_headers_to_add: [
                  {
                    header: {
                      key: 'w',
                      value: 'first',
                    },
                  },
                ],
              },
              {
                name: 'c',
                weight: 50,
                request_headers_to_add: [
                  {
                    header: {
                      key: 'w',
                      value: 'second',
                    },
                  },
                ],
              },
            ],
          },
        },
      },
    ],
    seen: ['w'],
    rows: {
      'GET /\nk: a': '200 n0 x1 via_upstream [second]',
      'GET /\nk: b': '200 n0 x1 via_upstream [second]',
      'GET /\nk: c': '200 n0 x1 via_upstream [first]',
      'GET /\nk: d': '200 n0 x1 via_upstream [second]',
      'GET /\nk: e': '200 n0 x1 via_upstream [second]',
      'GET /\nk: f': '200 n0 x1 via_upstream [first]',
      'GET /\nk: g': '200 n0 x1 via_upstream [second]',
      'GET /\nk: h': '200 n0 x1 via_upstream [second]',
    },
  },
  {
    name: 'cluster_header',
    config: {
      validate_clusters: false,
    },
    routes: [
      {
        match: {
          prefix: '/h',
        },
        route: {
          cluster_header: ':authority',
        },
      },
      {
        match: {
          prefix: '/',
        },
        route: {
          cluster_header: 'x-c',
        },
      },
    ],
    rows: {
      'GET /\nx-c: c': '200 n0 x1 via_upstream',
      'GET /': '503 x0 NC cluster_not_found',
      'GET /\nx-c: none': '503 x0 NC cluster_not_found',
      'GET /\nx-c: c\nx-c: dead': '200 n0 x1 via_upstream',
      'GET /h\nhost: c': '200 n0 x1 via_upstream',
    },
  },
];

routingTables(TABLES);
