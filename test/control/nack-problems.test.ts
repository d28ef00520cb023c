// Refusals of proxies, told of the objects that caused them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nackProblems } from '../../src/control/nack-problems.ts';
import { PIPELINE } from '../../src/control/pipeline.ts';
import { encode } from '../../src/xds/codec.ts';
import { type Content, contentOf } from '../../src/xds/content.ts';

const rule = (name: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: ${name}\n  namespace: shop\nspec: {host: ${name}}\n`;
const objects = PIPELINE.parseDocuments('rules.yaml', `${rule('pay')}---\n${rule('cart')}`, {}).resources;

const cluster = (name: string, from: string) => ({
  name,
  version: '1',
  bytes: encode('envoy.config.cluster.v3.Cluster', {
    name,
    metadata: { filter_metadata: { istio: { config: `/apis/networking.istio.io/v1/namespaces/shop/destination-rule/${from}` } } },
  }),
});
const clusters: Content = contentOf(
  new Map([cluster('outbound|80||pay', 'pay'), cluster('outbound|80||cart', 'cart')].map((c) => [c.name, c])),
);

test('a refusal that names a resource is told where its object is written, once for all proxies that say it', () => {
  const message = 'Error adding/updating cluster(s) outbound|80||cart: bad';
  const [problem, ...more] = nackProblems(
    ['a.shop', 'b.shop', 'c.shop'].map((proxy) => ({ proxy, type: 'CDS', message, content: clusters })),
    objects,
  );
  assert.deepEqual(more, []);
  assert.deepEqual([problem?.file, problem?.line, problem?.severity], ['rules.yaml', 11, 'error']);
  assert.equal(problem?.message, `a.shop and 2 more refused what was made of this: CDS: ${message}`);
});

test('a refusal that could have several causes, or none that is known, blames no object', () => {
  const both = 'Error adding/updating cluster(s) outbound|80||cart: bad, outbound|80||pay: bad';
  for (const message of [both, 'out of memory', '']) {
    const [problem] = nackProblems([{ proxy: 'a.shop', type: 'CDS', message, content: clusters }], objects);
    assert.deepEqual([problem?.file, problem?.code], ['', 'REFUSED_BY_PROXY']);
  }
});
