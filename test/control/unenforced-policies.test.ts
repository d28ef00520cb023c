// A policy that a connected proxy cannot carry out is never silent: `apply` refuses it, `status` names the proxies, and the proxy is
// told to take nothing that the policy governs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIPELINE } from '../../src/control/pipeline.ts';
import { type Rig, startRig, urlOf, XdsClient } from './rig.ts';

const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
`;
const policy = (name: string, spec: string): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: default}\nspec: ${spec}\n`;

interface Told {
  readonly code: string;
  readonly severity: string;
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

const withProxy = async (
  files: Readonly<Record<string, string>>,
  extensions: readonly string[],
  use: (rig: Rig, client: XdsClient) => Promise<void>,
): Promise<void> => {
  const rig = await startRig({ 'a.yaml': SERVICE, ...files }, { pipeline: PIPELINE, insecure: true, xds: ['127.0.0.1:0'] });
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '');
  try {
    const id = 'sidecar~10.0.0.1~a-1.default~default.svc.cluster.local';
    const node = { id, metadata: { NAMESPACE: 'default', LABELS: { app: 'a' } }, extensions: extensions.map(extension) };
    client.send({ type_url: urlOf('LDS'), node });
    await client.next('LDS', 1);
    await use(rig, client);
  } finally {
    client.close();
    await rig.close();
  }
};

const apply = (rig: Rig, text: string) => rig.admin('POST', '/v1/apply', { documents: [{ file: 'p.yaml', text }] });
const problems = async (rig: Rig): Promise<readonly Told[]> =>
  ((await rig.admin('GET', '/v1/status')).body as { readonly problems: readonly Told[] }).problems;

/** By name, or where it is a message type by that. */
const extension = (name: string) =>
  name.startsWith('envoy.extensions.') ? { name, type_urls: [`type.googleapis.com/${name}`] } : { name };
const ROUTER = ['envoy.filters.http.router'];
/** A list of types without this one is not taken for the whole list. */
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const RBAC = [...ROUTER, 'envoy.filters.http.rbac', 'envoy.filters.network.rbac'];

test('apply refuses a policy that a connected proxy of the workload cannot carry out, and names the proxy', async () => {
  await withProxy({}, ROUTER, async (rig) => {
    const refused = await apply(rig, policy('deny', '{action: DENY, rules: [{}]}'));
    const told = (refused.body as { readonly problems: readonly Told[] }).problems;
    assert.equal(refused.status, 422);
    assert.deepEqual(
      told.map((p) => [p.code, p.severity, p.file, p.line]),
      [['NOT_YET_ENFORCED', 'error', 'p.yaml', 2]],
    );
    assert.match(
      told[0]?.message ?? '',
      /AuthorizationPolicy default\/deny is not yet enforced by a-1\.default, which announced no rbac filter/,
    );
    const elsewhere = await apply(rig, policy('other', '{selector: {matchLabels: {app: b}}, action: DENY, rules: [{}]}'));
    assert.equal(elsewhere.status, 200, 'it governs no connected proxy');
  });
});

test('apply takes the policy where the proxy can carry it out', async () => {
  await withProxy({}, RBAC, async (rig, client) => {
    assert.equal((await apply(rig, policy('deny', '{action: DENY, rules: [{}]}'))).status, 200);
    client.ack(client.of('LDS')[0] ?? assert.fail());
    const second = await client.next('LDS', 2);
    assert.match(JSON.stringify(second.response), /ns\[default\]-policy\[deny\]-rule\[0\]/);
    assert.deepEqual(await problems(rig), []);
  });
});

test('a policy in a watched file closes the workload of a proxy without the filter, and status says so', async () => {
  const file = { 'p.yaml': policy('deny', "{action: DENY, rules: [{to: [{operation: {ports: ['81']}}]}]}") };
  await withProxy(file, ROUTER, async (rig, client) => {
    const listeners = JSON.stringify(client.of('LDS')[0]?.response);
    assert.match(listeners, /"status":403/);
    assert.doesNotMatch(listeners, /InboundPassthroughCluster;?","timeout/);
    const told = await problems(rig);
    assert.deepEqual(
      told.map((p) => [p.code, p.severity, p.line]),
      [['NOT_YET_ENFORCED', 'error', 2]],
    );
    assert.match(told[0]?.message ?? '', /where the policy is in force, what it governs is refused there/);
  });
});

test('a policy that only tells is taken with a warning', async () => {
  await withProxy({}, ROUTER, async (rig) => {
    const applied = await apply(rig, policy('audit', '{action: AUDIT, rules: [{}]}'));
    assert.equal(applied.status, 200);
    const { warnings } = applied.body as { readonly warnings: readonly Told[] };
    assert.deepEqual(
      warnings.map((p) => [p.code, p.severity]),
      [['NOT_YET_ENFORCED', 'warning']],
    );
  });
});

test('apply refuses a patch that a connected proxy of the workload does not understand, and a folder warns of it', async () => {
  const limit = (name: string, app: string): string => `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: default}
spec:
  workloadSelector: {labels: {app: ${app}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_FIRST
      value: {name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}
`;
  await withProxy({ 'f.yaml': limit('watched', 'a') }, [...ROUTER, HCM], async (rig) => {
    const refused = await apply(rig, limit('lua', 'a'));
    const told = (refused.body as { readonly problems: readonly Told[] }).problems;
    assert.equal(refused.status, 422);
    assert.deepEqual(
      told.map((p) => [p.code, p.severity, p.file, p.line]),
      [['PATCH_NOT_UNDERSTOOD', 'error', 'p.yaml', 11]],
    );
    assert.match(told[0]?.message ?? '', /^a-1\.default cannot be given the patch, which needs .*\.Lua$/);
    assert.equal((await apply(rig, limit('elsewhere', 'b'))).status, 200, 'it selects no connected proxy');
    const watched = await problems(rig);
    assert.deepEqual(
      watched.map((p) => [p.code, p.severity, p.line]),
      [['PATCH_NOT_UNDERSTOOD', 'warning', 11]],
    );
  });
});
