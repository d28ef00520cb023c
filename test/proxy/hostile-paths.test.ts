// Paths written to be read differently by a policy and by the server behind it: each of Istio's normalisations makes of them what stock
// Envoy makes (where one is installed), and what is pinned here everywhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

type Policy = 'none' | 'base' | 'merge' | 'decode' | 'reject' | 'redirect';

/** What Istio makes of meshConfig's pathNormalization, and Envoy's other two answers to escaped slashes. */
const POLICIES: { readonly [policy in Policy]: Partial<HttpConnectionManager> } = {
  none: { normalize_path: false, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
  base: { normalize_path: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
  merge: { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
  decode: { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD' },
  reject: { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'REJECT_REQUEST' },
  redirect: { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT' },
};
const NAMES = Object.keys(POLICIES) as Policy[];

const PIECES = [
  '/',
  '//',
  '.',
  '..',
  '%2e',
  '%2E%2e',
  '%2f',
  '%2F',
  '\\',
  '%5c',
  '%5C',
  'a',
  '%61',
  '%00',
  '%zz',
  '%',
  '%2',
  '%252e',
  ';',
  '~',
  '%7e',
  '%c0%af',
  '%ff',
  '?',
  '#',
  '*',
  '+',
  '@',
  ':',
  '%3f',
  '%23',
  '%25',
  '%20',
  '|',
  '[',
  ']',
  '{',
  '"',
  '<',
  '^',
  '`',
  '...',
  '..;',
  '.;',
  '}',
  ';x=',
  '%3b',
  '%2e%2e;',
  '%30',
  '%',
  '%2e%2e%2f',
  ' ',
];

const SHARP = ['/', '..', '%2e', '%2F', '\\', '%5c', '%', '%2', '..;', '.;'];

/** Pairs and triples of pieces, the same ones each time. */
const grownPaths = (): string[] => {
  const paths = new Set<string>();
  for (const a of SHARP) for (const b of PIECES) paths.add(`/x/${a}${b}/admin`);
  let seed = 7;
  const next = (): string => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return PIECES[seed % PIECES.length] ?? '/';
  };
  for (let i = 0; i < 400; i++) paths.add(`/${next()}${next()}/${next()}${next()}${i % 3 === 0 ? '/' : ''}${next()}`);
  return [...paths];
};

const PINNED: readonly (readonly [path: string, ...answers: string[]])[] = [
  ['/a/../admin', '/a/../admin', '/admin', '/admin', '/admin', '/admin', '/admin'],
  ['/a/%2e%2E/admin', '/a/%2e%2E/admin', '/admin', '/admin', '/admin', '/admin', '/admin'],
  ['/a/..;/admin', '/a/..;/admin', '/admin', '/admin', '/admin', '/admin', '/admin'],
  ['/a/..;x=y/admin', '/a/..;x=y/admin', '/admin', '/admin', '/admin', '/admin', '/admin'],
  ['/a/%2e%2e;/admin', '/a/%2e%2e;/admin', '/a/..;/admin', '/a/..;/admin', '/a/..;/admin', '/a/..;/admin', '/a/..;/admin'],
  ['/a//admin', '/a//admin', '/a//admin', '/a/admin', '/a/admin', '/a/admin', '/a/admin'],
  ['/a%2Fadmin', '/a%2Fadmin', '/a%2Fadmin', '/a%2Fadmin', '/a/admin', '400', '307 /a/admin'],
  ['/a/..%2fadmin', '/a/..%2fadmin', '/a/..%2fadmin', '/a/..%2fadmin', '/admin', '400', '307 /admin'],
  ['/a%5c..%5Cadmin', '/a%5c..%5Cadmin', '/a%5c..%5Cadmin', '/a%5c..%5Cadmin', '/admin', '400', '307 /admin'],
  ['/a\\\\..\\\\admin', '/a\\\\..\\\\admin', '/a//admin', '/a/admin', '/a/admin', '/a/admin', '/a/admin'],
  ['/admin%00', '/admin%00', '400', '400', '400', '400', '400'],
  ['/admin#x', '400', '400', '400', '400', '400', '400'],
  ['/%61dmin', '/%61dmin', '/admin', '/admin', '/admin', '/admin', '/admin'],
  ['/%2561dmin', '/%2561dmin', '/%2561dmin', '/%2561dmin', '/%2561dmin', '/%2561dmin', '/%2561dmin'],
  ['/%2%61dmin', '/%2%61dmin', '/%252admin', '/%252admin', '/%252admin', '/%252admin', '/%252admin'],
  ['/a"{b}', '/a"{b}', '/a%22%7Bb%7D', '/a%22%7Bb%7D', '/a%22%7Bb%7D', '/a%22%7Bb%7D', '/a%22%7Bb%7D'],
  ['/a?x/../%61//y', '/a?x/../%61//y', '/a?x/../%61//y', '/a?x/../%61//y', '/a?x/../%61//y', '/a?x/../%61//y', '/a?x/../%61//y'],
  ['/..', '/..', '/', '/', '/', '/', '/'],
  ['*', '400', '400', '400', '400', '400', '400'],
];

const stage = (backendPort: number) => ({
  clusters: [staticCluster('backend', [backendPort], { type: 'STATIC' })],
  listeners: NAMES.map((policy) => listener(policy, hcm([toCluster('backend')], POLICIES[policy]))),
});

/** The path as it reached the server, or the proxy's own answer. */
const told = async (port: number, path: string): Promise<string> => {
  const client = await RawClient.open(port);
  try {
    const response = await client.send(`GET ${path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n`).response();
    return response.status === 200 ? response.body : `${response.status} ${response.headers.get('location') ?? ''}`.trim();
  } catch {
    return 'closed';
  } finally {
    client.close();
  }
};

const echo = () => httpBackend((_n, head) => head.slice(head.indexOf(' ') + 1, head.indexOf(' HTTP/1.1')));

test('a pinned path reaches the server in the one form that policy saw', async () => {
  await using backend = await echo();
  await using plane = await startPlane(stage(backend.port));
  for (const [path, ...answers] of PINNED)
    assert.deepEqual(await Promise.all(NAMES.map((policy) => told(plane.port(policy), path))), answers, path);
});

test('every path becomes what stock Envoy makes of it', { skip: NO_ENVOY, timeout: 120_000 }, async () => {
  await using backend = await echo();
  await using plane = await startPlane(stage(backend.port));
  await using envoy = await startEnvoy(stage(backend.port));
  const differ: string[] = [];
  const compare = async (policy: Policy, path: string): Promise<void> => {
    const [ours, theirs] = await Promise.all([told(plane.port(policy), path), told(envoy.port(policy), path)]);
    if (ours !== theirs) differ.push(`${policy} ${path}: ${ours}, Envoy ${theirs}`);
  };
  for (const path of grownPaths()) await Promise.all(NAMES.map((policy) => compare(policy, path)));
  assert.deepEqual(differ, []);
});
