// Requests that change something and come from elsewhere. Every row is what a stock Envoy does; see routing-rig.ts.
import type { AnyMessage, Route } from '../../src/xds/gen/types.ts';
import { routingTables } from './routing-rig.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy';
const percent = (numerator: number) => ({ default_value: { numerator } });
const policy = (more: object): AnyMessage => ({ '@type': TYPE, filter_enabled: percent(100), ...more });
const to = (prefix: string, own?: AnyMessage): Route => ({
  match: { prefix },
  route: { cluster: 'c' },
  ...(own === undefined ? {} : { typed_per_filter_config: { 'envoy.filters.http.csrf': own } }),
});
const PASSED = '200 n0 x1 via_upstream';
const REFUSED = '403 Invalid origin x0 csrf_origin_mismatch';

routingTables([
  {
    name: 'what changes something must come from where it goes to, or from a named origin',
    filters: [
      { name: 'envoy.filters.http.csrf', typed_config: policy({ additional_origins: [{ suffix: '.friend.test' }, { exact: 'null' }] }) },
    ],
    routes: [
      to('/off', policy({ filter_enabled: percent(0) })),
      to('/watched', policy({ filter_enabled: percent(0), shadow_enabled: percent(100) })),
      to('/all', policy({ additional_origins: [{ safe_regex: { google_re2: {}, regex: '.*' } }] })),
      to('/own', policy({ additional_origins: [{ exact: 'b.test' }] })),
      to('/'),
    ],
    rows: {
      'GET /\norigin: http://b.test': PASSED,
      'OPTIONS /\norigin: http://b.test': PASSED,
      'POST /\norigin: http://x.test': PASSED,
      'POST /': REFUSED,
      'POST /\norigin: http://b.test': REFUSED,
      'PUT /\norigin: http://b.test': REFUSED,
      'DELETE /\norigin: http://b.test': REFUSED,
      'PATCH /\norigin: http://b.test': REFUSED,
      'POST /\norigin: https://x.test': PASSED,
      'POST /\norigin: http://x.test:80': REFUSED,
      'POST /\nhost: x.test:80\norigin: http://x.test:80': PASSED,
      'POST /\norigin: http://X.test': REFUSED,
      'POST /\norigin: x.test': PASSED,
      'POST /\norigin: http://a.friend.test': PASSED,
      'POST /\norigin: http://a.friend.test:1': REFUSED,
      'POST /\norigin: null': REFUSED,
      'POST /\norigin: null\nreferer: http://x.test/': REFUSED,
      'POST /\nreferer: http://x.test/a/b?c=d': PASSED,
      'POST /\nreferer: http://b.test/a': REFUSED,
      'POST /\nreferer: /a': REFUSED,
      'POST /\nreferer: http://u:p@x.test/c': REFUSED,
      'POST /\nreferer: http://x.test?c': PASSED,
      'POST /\norigin: http://u:p@x.test': PASSED,
      'POST /\norigin: http://x.test/a#b': PASSED,
      'POST /\norigin: http://x.test/ä': REFUSED,
      'POST /\nreferer: http://x.test/a\nreferer: http://x.test/a': PASSED,
      'POST /\nreferer: http://x.test/ä': REFUSED,
      'POST /\nreferer: http://x.test/a#b': REFUSED,
      'POST /\nreferer: http://x.test#b': REFUSED,
      'POST /\norigin: http://b.test\nreferer: http://x.test/': REFUSED,
      'POST /\norigin:\nreferer: http://x.test/': PASSED,
      'POST /\norigin: http://x.test\norigin: http://b.test': REFUSED,
      'POST /\nhost: [::1]:8\norigin: http://[::1]:8': PASSED,
      'POST /\nhost: a_b.test\norigin: http://a_b.test': PASSED,
      'POST /\nhost: a_b.test\nreferer: http://a_b.test/x': REFUSED,
      'POST /\norigin: ftp://x.test': PASSED,
      'POST /\norigin: http://x.test:99999': REFUSED,
      'POST /all': REFUSED,
      'POST /all\norigin: http://b.test': PASSED,
      'POST /off\norigin: http://b.test': PASSED,
      'POST /watched\norigin: http://b.test': PASSED,
      'POST /own\norigin: http://b.test': PASSED,
      'POST /own\norigin: http://a.friend.test': REFUSED,
    },
  },
]);
