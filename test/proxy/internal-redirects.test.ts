// Redirects of an upstream that the proxy follows itself; a stock Envoy, where there is one, follows the same.
import type { InternalRedirectPolicy, Route, RouteAction } from '../../src/xds/gen/types.ts';
import { routingTables } from './routing-rig.ts';

const to = (
  prefix: string,
  policy: InternalRedirectPolicy | undefined,
  more: Partial<RouteAction> = {},
  route: Partial<Route> = {},
): Route => ({
  match: { prefix },
  route: { cluster: 'c', ...more, ...(policy === undefined ? {} : { internal_redirect_policy: policy }) },
  ...route,
});
const ROOT = 'type.googleapis.com/envoy.extensions.internal_redirect';
const predicate = (name: string, config: object = {}) => ({
  name,
  typed_config: {
    '@type': `${ROOT}.${name}.v3.${name
      .split('_')
      .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
      .join('')}Config`,
    ...config,
  },
});
const SEEN = ['path', 'host', 'x-envoy-original-url', 'x-forwarded-for', 'x-forwarded-proto'];

routingTables([
  {
    name: 'an answer of 302 leads elsewhere, once, and only to a whole address of the same scheme',
    routes: [to('/plain', undefined), to('/', {})],
    seen: SEEN,
    shows: ['location', 'x-of'],
    rows: {
      'GET /a?q=1\nx-forwarded-for: 1.2.3.4\nx-plan: 302;location=http://b.test/c?d=2#frag|200;x-of=2':
        '200 n1 x2 internal_redirect via_upstream x-of=2 [/a?q=1 x.test  1.2.3.4 http] [/c?d=2 b.test http://x.test/a?q=1 1.2.3.4 http]',
      'HEAD /a\nx-plan: 302;location=http://b.test|200':
        '200 x2 internal_redirect via_upstream [/a x.test   http] [/ b.test http://x.test/a  http]',
      'GET /a\nx-plan: 302;location=http://b.test:8080/x|302;location=http://c.test/y|200':
        '302 n1 x2 internal_redirect via_upstream location=http://c.test/y [/a x.test   http] [/x b.test:8080 http://x.test/a  http]',
      'GET /a\nx-plan: 301;location=http://b.test/x|200': '301 n0 x1 via_upstream location=http://b.test/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=/x|200': '302 n0 x1 via_upstream location=/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=//b.test/x|200': '302 n0 x1 via_upstream location=//b.test/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=|200': '302 n0 x1 via_upstream location= [/a x.test   http]',
      'GET /a\nx-plan: 302|200': '302 n0 x1 via_upstream [/a x.test   http]',
      'GET /a\nx-plan: 302;location=https://b.test/x|200': '302 n0 x1 via_upstream location=https://b.test/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=ftp://b.test/x|200': '302 n0 x1 via_upstream location=ftp://b.test/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=HTTP://B.test/X|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test   http] [/X B.test http://x.test/a  http]',
      'GET /a\nx-plan: 302;location=http://u:p@b.test/x|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test   http] [/x b.test http://x.test/a  http]',
      'GET /a\nx-plan: 302;location=http://b.test?x|200': '302 n0 x1 via_upstream location=http://b.test?x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=http://b.test/../x/%2e%2e/y|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test   http] [/../x/%2e%2e/y b.test http://x.test/a  http]',
      'GET /a\nx-plan: 302;location=http://[::1]:80/x|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test   http] [/x [::1]:80 http://x.test/a  http]',
      'GET /a\nx-plan: 302;location=http://b.test:99999/x|200': '302 n0 x1 via_upstream location=http://b.test:99999/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=http://b_c.test/x|200': '302 n0 x1 via_upstream location=http://b_c.test/x [/a x.test   http]',
      'GET /a\nx-plan: 302;location=http://b.test/a b|200': '302 n0 x1 via_upstream location=http://b.test/a b [/a x.test   http]',
      'GET /plain\nx-plan: 302;location=http://b.test/x|200': '302 n0 x1 via_upstream location=http://b.test/x [/plain x.test   http]',
      'GET /a\nx-forwarded-proto: https\nx-plan: 302;location=https://b.test/x|200':
        '302 n0 x1 via_upstream location=https://b.test/x [/a x.test   https]',
      'GET /a\nx-forwarded-proto: https\nx-plan: 302;location=http://b.test/x|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test   https] [/x b.test http://x.test/a  https]',
      'GET /a\nexpect-nothing: 1\nx-plan: slow20:302;location=http://b.test/x|slow20:503':
        '503 n1 x2 internal_redirect via_upstream [/a x.test   http] [/x b.test http://x.test/a  http]',
    },
  },
  {
    name: 'bodies go along, but not behind 303',
    routes: [to('/', { redirect_response_codes: [302, 303, 307, 308, 404], max_internal_redirects: 3 })],
    seen: ['path', 'content-length', 'transfer-encoding', 'x-envoy-original-url'],
    rows: {
      'POST /a\nx-plan: 302;location=http://b.test/x|200\n\nhello':
        '200 n1 x2 internal_redirect via_upstream [/a 5  ] [/x 5  http://x.test/a]',
      'POST /a\nx-plan: 303;location=http://b.test/x|200\n\nhello':
        '200 n1 x2 internal_redirect via_upstream [/a 5  ] [/x   http://x.test/a]',
      'PUT /a\nx-plan: 303;location=http://b.test/x|200': '200 n1 x2 internal_redirect via_upstream [/a 0  ] [/x   http://x.test/a]',
      'POST /a\nx-plan: 307;location=http://b.test/x|308;location=http://b.test/y|200\n\nhello':
        '200 n2 x3 internal_redirect internal_redirect via_upstream [/a 5  ] [/x 5  http://x.test/a] [/y 5  http://b.test/x]',
      'POST /a\nx-plan: 404;location=http://b.test/x|200\n\nhello': '404 n0 x1 via_upstream [/a 5  ]',
      'GET /a\nx-plan: 302;location=http://b.test/1|302;location=http://b.test/2|302;location=http://b.test/3|302;location=http://b.test/4|200':
        '302 n3 x4 internal_redirect internal_redirect internal_redirect via_upstream [/a   ] [/1   http://x.test/a] [/2   http://b.test/1] [/3   http://b.test/2]',
    },
  },
  {
    name: 'what is behind a redirect is a request of its own',
    routes: [
      to('/rewritten', {}, { prefix_rewrite: '/r', host_rewrite_literal: 'h.test' }),
      to('/retried', {}, { retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.001s' } } }),
      { match: { prefix: '/direct' }, direct_response: { status: 418, body: { inline_string: 'tea' } } },
      { match: { prefix: '/moved' }, redirect: { host_redirect: 'm.test' } },
      to('/copies', { response_headers_to_copy: ['X-Of', 'x-None'] }),
      to('/none', { max_internal_redirects: 0 }),
      to('/long', {}, {}, { per_request_buffer_limit_bytes: 3 }),
      to('/a', {}),
    ],
    seen: ['path', 'host', 'x-envoy-original-url', 'x-envoy-original-path', 'x-envoy-original-host', 'x-of', 'x-none'],
    shows: ['location'],
    rows: {
      'GET /rewritten/1\nx-plan: 302;location=http://b.test/a|200':
        '200 n1 x2 internal_redirect via_upstream [/r/1 h.test  /rewritten/1 x.test  ] [/a b.test http://h.test/r/1 /rewritten/1 x.test  ]',
      'GET /a\nx-plan: 302;location=http://b.test/rewritten/2|200':
        '200 n1 x2 internal_redirect via_upstream [/a x.test     ] [/r/2 h.test http://x.test/a /rewritten/2 b.test  ]',
      'GET /retried\nx-plan: 503|302;location=http://b.test/retried/2|503|200':
        '200 n3 x4 internal_redirect via_upstream [/retried x.test     ] [/retried x.test     ] [/retried/2 b.test http://x.test/retried    ] [/retried/2 b.test http://x.test/retried    ]',
      'GET /a\nx-plan: 302;location=http://b.test/direct|200': '418 tea x1 internal_redirect direct_response [/a x.test     ]',
      'GET /a\nx-plan: 302;location=http://b.test/moved|200':
        '301 x1 internal_redirect direct_response location=http://m.test/moved [/a x.test     ]',
      'GET /a\nx-plan: 302;location=http://b.test/nowhere|200': '302 n0 x1 via_upstream location=http://b.test/nowhere [/a x.test     ]',
      'GET /copies\nx-of: old\nx-none: old\nx-plan: 302;location=http://b.test/a;x-of=1;x-of=2|200':
        '200 n1 x2 internal_redirect via_upstream [/copies x.test    old old] [/a b.test http://x.test/copies   1,2 ]',
      'GET /none\nx-plan: 302;location=http://b.test/a|200': '302 n0 x1 via_upstream location=http://b.test/a [/none x.test     ]',
      'POST /long\nx-plan: 302;location=http://b.test/a|200\n\nhello':
        '302 n0 x1 via_upstream location=http://b.test/a [/long x.test     ]',
      'POST /long\nx-plan: 302;location=http://b.test/a|200\n\nhel':
        '200 n1 x2 internal_redirect via_upstream [/long x.test     ] [/a b.test http://x.test/long    ]',
    },
  },
  {
    name: 'predicates say where a redirect may lead',
    routes: [
      to('/listed', { predicates: [predicate('allow_listed_routes', { allowed_route_names: ['one'] })] }),
      to('/previous', { max_internal_redirects: 5, predicates: [predicate('previous_routes')] }, {}, { name: 'previous' }),
      to('/safe', { allow_cross_scheme_redirect: true, predicates: [predicate('safe_cross_scheme')] }),
      to('/cross', { allow_cross_scheme_redirect: true }),
      to('/one', { max_internal_redirects: 5 }, {}, { name: 'one' }),
      to('/two', {}, {}, { name: 'two' }),
    ],
    seen: ['path', 'x-forwarded-proto', 'x-envoy-original-url'],
    rows: {
      'GET /listed\nx-plan: 302;location=http://b.test/one|200':
        '200 n1 x2 internal_redirect via_upstream [/listed http ] [/one http http://x.test/listed]',
      'GET /listed\nx-plan: 302;location=http://b.test/two|200': '302 n0 x1 via_upstream [/listed http ]',
      'GET /previous\nx-plan: 302;location=http://b.test/one|302;location=http://b.test/previous|302;location=http://b.test/one|200':
        '302 n2 x3 internal_redirect internal_redirect via_upstream [/previous http ] [/one http http://x.test/previous] [/previous http http://b.test/one]',
      'GET /previous\nx-plan: 302;location=http://b.test/previous|302;location=http://b.test/previous|200':
        '302 n1 x2 internal_redirect via_upstream [/previous http ] [/previous http http://x.test/previous]',
      'GET /safe\nx-plan: 302;location=https://b.test/one|200': '302 n0 x1 via_upstream [/safe http ]',
      'GET /safe\nx-forwarded-proto: https\nx-plan: 302;location=http://b.test/one|200':
        '200 n1 x2 internal_redirect via_upstream [/safe https ] [/one https http://x.test/safe]',
      'GET /cross\nx-plan: 302;location=https://b.test/one|200':
        '200 n1 x2 internal_redirect via_upstream [/cross http ] [/one http http://x.test/cross]',
      'GET /cross\nx-forwarded-proto: https\nx-plan: 302;location=http://b.test/one|200':
        '200 n1 x2 internal_redirect via_upstream [/cross https ] [/one https http://x.test/cross]',
      'GET /cross\nx-plan: 302;location=ftp://b.test/one|200':
        '200 n1 x2 internal_redirect via_upstream [/cross http ] [/one http http://x.test/cross]',
    },
  },
]);
