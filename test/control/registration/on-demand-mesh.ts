// A control plane with services of this machine, and Skein's data plane as a sidecar that asks for what it needs: real streams, real
// sockets; where a redirected connection was going is told by the test.
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createLog } from '../../../src/base/log.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { announcedNode } from '../../../src/proxy/bootstrap/node.ts';
import { type Clock, systemClock } from '../../../src/proxy/clock.ts';
import { createDataPlane, type DataPlane } from '../../../src/proxy/data-plane.ts';
import { createGrpcClient } from '../../../src/proxy/xds/grpc-client.ts';
import { Subscriptions } from '../../../src/proxy/xds/subscriptions.ts';
import type { Bootstrap } from '../../../src/xds/gen/types.ts';
import { freePort } from '../../free-port.ts';
import { type Rig, startRig, temporaryFolder } from '../rig.ts';

/** Answers HTTP with its name; says its name first to clients that say nothing. */
export const startService = async (
  name: string,
  kind: 'http' | 'tcp' = 'http',
): Promise<{ readonly port: number; readonly server: Server }> => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (kind === 'tcp') socket.end(name);
    else socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, server };
};

export const entry = (host: string, address: string, port: number, backend: number, protocol = 'HTTP'): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${host.replaceAll('.', '-')}, namespace: shop}
spec:
  hosts: [${host}]
  addresses: [${address}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: ${port}, name: main, protocol: ${protocol}}]
  endpoints: [{address: 127.0.0.1, ports: {main: ${backend}}}]
`;

/** How often the data plane looks what is in use. */
const SWEEP_MS = 300_000;

/** Nobody here has keys. */
const NO_KEYS = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
`;

export interface Sidecar {
  readonly plane: DataPlane;
  readonly subscriptions: Subscriptions;
  readonly problems: string[];
  /** Bytes of all that the control plane has sent. */
  received(): number;
  /** The time passes after which it is looked what is in use. */
  sweep(): void;
  close(): Promise<void>;
}

export interface OnDemandMesh {
  readonly rig: Rig;
  readonly xdsPort: number;
  readonly outboundPort: number;
  /** Where connections to the sidecar are taken to have been going. */
  goesTo: { ip: string; port: number };
  sidecar(options?: { readonly onDemand?: boolean; readonly name?: string }): Promise<Sidecar>;
  /** Every stream of the sidecars ends. */
  cut(): void;
  close(): Promise<void>;
}

export const nodeOf = (name: string, onDemand: boolean): NonNullable<Bootstrap['node']> => ({
  id: `sidecar~127.0.0.1~${name}.shop~shop.svc.cluster.local`,
  cluster: 'web',
  metadata: { NAMESPACE: 'shop', ...(onDemand ? { SKEIN_ON_DEMAND: 'true' } : {}) },
});

export const bootstrapOf = (node: NonNullable<Bootstrap['node']>): Bootstrap => ({
  node,
  dynamic_resources: {
    ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
    cds_config: { ads: {}, resource_api_version: 'V3' },
    lds_config: { ads: {}, resource_api_version: 'V3' },
  },
});

export const startMesh = async (documents: string, meshConfig: object = {}): Promise<OnDemandMesh> => {
  const [outboundPort, inboundPort, xdsPort] = [await freePort(), await freePort(), await freePort()];
  const root = temporaryFolder();
  const meshConfigFile = join(root, 'mesh.json');
  writeFileSync(meshConfigFile, JSON.stringify({ proxyListenPort: outboundPort, proxyInboundListenPort: inboundPort, ...meshConfig }));
  const rig = await startRig(
    { 'mesh.yaml': documents, 'peers.yaml': NO_KEYS },
    { pipeline: PIPELINE, insecure: true, xds: [`127.0.0.1:${xdsPort}`], meshConfigFile },
    root,
  );
  const closes: (() => Promise<void>)[] = [];
  const cuts = new Set<() => void>();
  const mesh: OnDemandMesh = {
    rig,
    xdsPort,
    outboundPort,
    goesTo: { ip: '', port: 0 },
    sidecar: async ({ onDemand = true, name = 'web' } = {}) => {
      const sidecar = await startSidecar(mesh, nodeOf(name, onDemand), cuts);
      closes.push(() => sidecar.close());
      return sidecar;
    },
    cut: () => {
      for (const cut of [...cuts]) cut();
    },
    close: async () => {
      for (const close of closes) await close();
      await rig.close();
    },
  };
  return mesh;
};

const startSidecar = async (mesh: OnDemandMesh, node: NonNullable<Bootstrap['node']>, cuts: Set<() => void>): Promise<Sidecar> => {
  const problems: string[] = [];
  const log = createLog(
    'test',
    (line) => problems.push(line),
    () => new Date(),
  );
  let sweep = (): void => {};
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, fire) => {
      if (delayMs !== SWEEP_MS) return systemClock.after(delayMs, fire);
      sweep = fire;
      return () => {};
    },
  };
  const plane = createDataPlane({ log, clock, asksOnDemand: true, originalDestination: { of: () => mesh.goesTo } });
  const client = createGrpcClient({ address: { host: '127.0.0.1', port: mesh.xdsPort } });
  let received = 0;
  const announced = announcedNode(node, '0.0.0');
  const subscriptions = new Subscriptions({
    bootstrap: bootstrapOf(node),
    node: () => announced,
    dataPlane: plane,
    transport: () => ({
      open: (method, events) => {
        const stream = client.open(method, {
          message: (bytes) => {
            received += bytes.length;
            events.message(bytes);
          },
          end: (status) => {
            cuts.delete(cut);
            events.end(status);
          },
        });
        const cut = (): void => {
          cuts.delete(cut);
          stream.close();
          events.end({ code: 14, message: 'cut' });
        };
        cuts.add(cut);
        return stream;
      },
    }),
    rejectUnknownFields: false,
    clock: systemClock,
    random: Math.random,
    log,
  });
  subscriptions.start();
  await Promise.race([
    subscriptions.whenLive(),
    new Promise((_, reject) =>
      setTimeout(() => reject(new Error(`not live: ${[...problems, ...plane.bindFailures()].join('\n')}`)), 5_000).unref(),
    ),
  ]);
  let closed = false;
  return {
    plane,
    subscriptions,
    problems,
    received: () => received,
    sweep: () => sweep(),
    close: async () => {
      if (closed) return;
      closed = true;
      subscriptions.close();
      client.close();
      await plane.close();
    },
  };
};
