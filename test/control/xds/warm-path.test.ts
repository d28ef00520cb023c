// The way of one edit: a saved VirtualService reaches every sidecar of a mesh of the shop's size while a person lets go of the key.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { eventually, startRig, XdsClient } from '../rig.ts';

const SHOP = new URL('../../../examples/shop/mesh', import.meta.url).pathname;
const PROXIES = 18;
const BOUND_MS = 300;
const BUSY_BOUND_MS = 3000;
const TRIES = 20;

const rule = (weight: number): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edited, namespace: production}
spec:
  hosts: [payment-service]
  http: [{name: w${weight}, route: [{destination: {host: payment-service}, headers: {response: {set: {x-edit: '${weight}'}}}}]}]
`;

/** Answers everything as a proxy does. */
class Follower {
  readonly #client: XdsClient;
  readonly #route: string;
  #done = 0;
  #asked = false;

  constructor(client: XdsClient, route: string) {
    this.#client = client;
    this.#route = route;
    client.subscribe('CDS');
  }

  /** True when the newest route configuration holds the text. */
  has(text: string): boolean {
    const { received } = this.#client;
    for (; this.#done < received.length; this.#done++) {
      const r = received[this.#done];
      if (!r) break;
      this.#client.ack(r, r.type === 'RDS' ? [this.#route] : []);
      if (r.type !== 'CDS' || this.#asked) continue;
      this.#asked = true;
      this.#client.subscribe('LDS');
      this.#client.subscribe('RDS', [this.#route]);
    }
    return JSON.stringify(this.#client.of('RDS').at(-1)?.response ?? {}).includes(text);
  }

  close(): void {
    this.#client.close();
  }
}

test(`an edit reaches ${PROXIES} sidecars within ${BOUND_MS} ms`, async (t) => {
  const files = Object.fromEntries(readdirSync(SHOP).map((f) => [f, readFileSync(join(SHOP, f), 'utf8')]));
  const rig = await startRig({ ...files, 'edited.yaml': rule(0) }, { pipeline: PIPELINE, xds: ['127.0.0.1:0'], insecure: true });
  const route = '8080';
  const followers = Array.from({ length: PROXIES }, (_, i) => {
    const node = `sidecar~10.244.9.${i + 1}~w-${i}.production~production.svc.cluster.local`;
    return new Follower(new XdsClient(rig.controlPlane.xds[0] ?? '', { node }), route);
  });
  try {
    const all = (text: string): Promise<true> =>
      eventually(`everybody has ${text}`, () => followers.every((f) => f.has(text)) || undefined).then(() => true);
    await all('w0');
    const took: number[] = [];
    // The best of a few counts, and as many as it takes where others use the machine: it is not their work that is measured.
    for (let n = 1; n <= TRIES && Math.min(...took) >= BOUND_MS; n++) {
      const at = performance.now();
      rig.save('edited.yaml', rule(n));
      await all(`w${n}`);
      took.push(Math.round(performance.now() - at));
    }
    t.diagnostic?.(`milliseconds from the save to the last of ${PROXIES}: ${took.join(' ')}`);
    const busy = (loadavg()[0] ?? 0) > availableParallelism();
    assert.ok(Math.min(...took) < (busy ? BUSY_BOUND_MS : BOUND_MS), took.join(' '));
  } finally {
    for (const f of followers) f.close();
    await rig.close();
  }
});
