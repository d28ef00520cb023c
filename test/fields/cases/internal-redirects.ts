// Redirects that an upstream answers and the proxy follows.
import type { InternalRedirectPolicy, Route, RouteAction } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { ask } from '../http-probe.ts';

let backend: Backend;
const start = async () => {
  backend = await httpBackend((_, head) => {
    const [, path = '', status = '302'] = /^\w+ \/[a-z]+\?to=([^ &]+)(?:&status=(\d+))? /.exec(head) ?? [];
    if (path !== '') return `HTTP/1.1 ${status} X\r\nlocation: ${decodeURIComponent(path)}\r\nx-copied: here\r\ncontent-length: 0\r\n\r\n`;
    const text = `${head.split(' ')[1]} ${/^x-copied: (.*)$/im.exec(head)?.[1] ?? ''}`;
    return `HTTP/1.1 200 X\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
  });
  return backend;
};

const to = (name: string, action: RouteAction): Route => ({ name, match: { prefix: `/${name}` }, route: { cluster: 'c', ...action } });
const withPolicy = (name: string, policy: InternalRedirectPolicy): Route => to(name, { internal_redirect_policy: policy });
const ROOT = 'type.googleapis.com/envoy.extensions.internal_redirect';

const PATHS = [
  '/plain?to=http://b/end',
  '/twice?to=http://b/twice%3Fto=http://b/end',
  '/codes?to=http://b/end&status=308',
  '/cross?to=https://b/end',
  '/copies?to=http://b/end',
  '/listed?to=http://b/end',
  '/previous?to=http://b/previous%3Fto=http://b/previous%253Fto=http://b/end',
  '/safe?to=https://b/end',
  '/old?to=http://b/old%3Fto=http://b/end',
];
const redirects: FieldCase = {
  name: 'internal-redirects',
  start,
  parts: () => [
    cluster(staticCluster('c', [backend.port])),
    listener(
      onLoopback(
        'in',
        hcm([
          withPolicy('plain', {}),
          withPolicy('twice', { max_internal_redirects: 2 }),
          withPolicy('codes', { redirect_response_codes: [308] }),
          withPolicy('cross', { allow_cross_scheme_redirect: true }),
          withPolicy('copies', { response_headers_to_copy: ['x-copied'] }),
          withPolicy('listed', {
            predicates: [
              {
                name: 'listed',
                typed_config: { '@type': `${ROOT}.allow_listed_routes.v3.AllowListedRoutesConfig`, allowed_route_names: ['end'] },
              },
            ],
          }),
          withPolicy('previous', {
            max_internal_redirects: 3,
            predicates: [{ name: 'previous', typed_config: { '@type': `${ROOT}.previous_routes.v3.PreviousRoutesConfig` } }],
          }),
          withPolicy('safe', {
            allow_cross_scheme_redirect: true,
            predicates: [{ name: 'safe', typed_config: { '@type': `${ROOT}.safe_cross_scheme.v3.SafeCrossSchemeConfig` } }],
          }),
          to('old', { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT', max_internal_redirects: 2 }),
          to('end', {}),
        ]),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const seen: string[] = [];
    for (const path of PATHS) {
      const { status, body } = await ask(port(), path);
      seen.push(`${status} ${body}`.trim());
    }
    return seen;
  }),
  expect: ['200 /end', '200 /end', '200 /end', '200 /end', '200 /end here', '200 /end', '302', '302', '200 /end'],
};

export const REDIRECT_CASES = [redirects];
