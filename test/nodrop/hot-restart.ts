// Hot restarts of bare sidecars, asked for and followed through the admin API; what came of them is killed with the pair.
import { setTimeout as after } from 'node:timers/promises';
import { eventually, expect } from '../integration/suite.ts';
import type { BareProxy, ProxyKind } from '../interop/bare-proxy.ts';
import type { SidecarPair } from './sidecar-pair.ts';

const TIMES = 3;
const TAKEN_OVER_MS = 15_000;

interface Status {
  readonly epoch: number;
  readonly pid: number;
}

export const whyNoHotRestart = async ({ proxies }: SidecarPair, kind: ProxyKind): Promise<string | undefined> => {
  if (kind === 'envoy') return 'Envoy’s hot restart needs a wrapper that starts the next process';
  const { status } = await proxies.client.request('/hot_restart');
  return status === 200 ? undefined : `GET /hot_restart answers ${status}`;
};

const statusOf = async (proxy: BareProxy): Promise<Status> => JSON.parse(await proxy.get('/hot_restart')) as Status;

export const hotRestarts = async (pair: SidecarPair): Promise<string> => {
  for (let i = 1; i <= TIMES; i++) {
    for (const side of ['server', 'client'] as const) {
      const proxy = pair.proxies[side];
      const { epoch } = await statusOf(proxy);
      const { status } = await proxy.request('/hot_restart', 'POST');
      expect(status === 202, `POST /hot_restart: ${status}`);
      const now = await eventually(`the ${side}'s sidecar of epoch ${epoch + 1} has taken over`, TAKEN_OVER_MS, async () => {
        const seen = await statusOf(proxy);
        return seen.epoch > epoch ? seen : undefined;
      });
      pair.successors.push(now.pid);
      // The new one's own configuration changes are in force too.
      pair.setRoute(400 + i);
      pair.setListener('http', 400 + i);
      await after(700);
    }
  }
  return `${TIMES} of each sidecar`;
};
