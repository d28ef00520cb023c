// What the control plane counts of its proxies under istiod's names: how many of which version, and how much each push weighs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Rig, startRig, urlOf, XdsClient } from './rig.ts';

const page = async (rig: Rig): Promise<string> => String((await rig.admin('GET', '/metrics')).body);

test('proxies are counted by their version, pushes measured by type of resource', async () => {
  const rig = await startRig({ 'a.yaml': 'kind: Service\nname: a\nspec: {endpoints: [10.1.0.1]}\n' });
  const clients: XdsClient[] = [];
  try {
    for (const [i, version] of ['1.29.2', '1.29.2', undefined].entries()) {
      const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token(`c${i}`) });
      clients.push(client);
      const node = { id: `sidecar~10.0.0.${i + 1}~c${i}.default~default.svc.cluster.local`, user_agent_name: 'envoy' };
      client.send({ node: version === undefined ? node : { ...node, metadata: { ISTIO_VERSION: version } }, type_url: urlOf('CDS') });
    }
    const pushed = await Promise.all(clients.map((c) => c.next('CDS', 1)));
    const text = await page(rig);
    assert.match(text, /^pilot_xds\{version="1\.29\.2"\} 2$/m);
    assert.match(text, /^pilot_xds\{version="unknown"\} 1$/m);
    assert.doesNotMatch(text, /^pilot_xds \d/m);
    const type = urlOf('CDS').replaceAll('.', '\\.');
    assert.match(text, new RegExp(`^pilot_xds_config_size_bytes_count\\{type="${type}"\\} 3$`, 'm'));
    const told = Number(new RegExp(`^pilot_xds_config_size_bytes_sum\\{type="${type}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
    const least = pushed.flatMap(({ response }) => response.resources ?? []).length * 10;
    assert.ok(least > 0 && told >= least, `${told} bytes`);
    for (const client of clients) client.close();
    let after = '';
    for (let i = 0; i < 200 && !/^pilot_xds 0$/m.test(after); i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      after = await page(rig);
    }
    assert.match(after, /^pilot_xds 0$/m);
    assert.doesNotMatch(after, /^pilot_xds\{/m);
  } finally {
    for (const client of clients) client.close();
    await rig.close();
  }
});
