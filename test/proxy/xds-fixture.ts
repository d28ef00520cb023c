// Resources and an in-process control plane for tests of the subscription manager: SotwServer behind a transport.
import type { Clock } from '../../src/proxy/clock.ts';
import { encode } from '../../src/xds/codec.ts';
import { type Content, type EncodedResource, hashVersions } from '../../src/xds/content.ts';
import type {
  Bootstrap,
  Cluster,
  ClusterLoadAssignment,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
} from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } from '../../src/xds/resource-types.ts';
import { SotwServer } from '../../src/xds/sotw-server.ts';
import type { StreamEvents, XdsTransport } from '../../src/xds/transport.ts';

export const edsCluster = (name: string, extra: Cluster = {}): Cluster => ({
  name,
  type: 'EDS',
  eds_cluster_config: { eds_config: { ads: {} } },
  ...extra,
});

export const assignment = (name: string, port = 8080): ClusterLoadAssignment => ({
  cluster_name: name,
  endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: port } } } }] }],
});

export const rdsListener = (name: string, routes: string, extra: Listener = {}): Listener => ({
  name,
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: name,
            rds: { route_config_name: routes, config_source: { ads: {} } },
          },
        },
      ],
    },
  ],
  ...extra,
});

export const dynamicBootstrap = (extra: Bootstrap = {}): Bootstrap => ({
  node: { id: 'sidecar~10.0.0.9~web.default~default.svc.cluster.local', cluster: 'web.default' },
  dynamic_resources: {
    ads_config: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }] },
    cds_config: { ads: {} },
    lds_config: { ads: {} },
  },
  ...extra,
});

/** Time that passes when told to. */
export class ManualClock implements Clock {
  now = 1_700_000_000_000;
  readonly #pending = new Set<{ readonly at: number; readonly fire: () => void }>();

  monotonicMs(): number {
    return this.now;
  }
  wallMs(): number {
    return this.now;
  }
  after(delayMs: number, fire: () => void): () => void {
    const entry = { at: this.now + delayMs, fire };
    this.#pending.add(entry);
    return () => this.#pending.delete(entry);
  }
  advance(ms: number): void {
    this.now += ms;
    for (const entry of [...this.#pending].sort((a, b) => a.at - b.at)) {
      if (entry.at > this.now || !this.#pending.delete(entry)) continue;
      entry.fire();
    }
  }
}

type Any = Cluster | ClusterLoadAssignment | Listener | RouteConfiguration | Secret | Core_TypedExtensionConfig;

/** A control plane whose streams are served in this process; bytes travel in microtasks. */
export class FakeControl implements XdsTransport {
  readonly content = new Map<string, Content>();
  readonly methods: string[] = [];
  readonly outcomes: string[] = [];
  servers: SotwServer[] = [];
  refuse = false;
  #ends: StreamEvents['end'][] = [];

  set(type: { readonly url: string; readonly type: string }, resources: readonly Any[]): void {
    const encoded = resources.map((r): EncodedResource => {
      const name = 'cluster_name' in r ? (r.cluster_name ?? '') : ((r as { name?: string }).name ?? '');
      const bytes = encode(type.type as 'envoy.config.cluster.v3.Cluster', r as Cluster);
      return { name, version: Buffer.from(bytes).toString('base64'), bytes };
    });
    this.content.set(type.url, { version: hashVersions(encoded), resources: new Map(encoded.map((e) => [e.name, e])) });
  }

  push(): void {
    for (const s of this.servers) s.refresh();
  }

  /** Loses every stream. */
  drop(): void {
    const ends = this.#ends;
    this.servers = [];
    this.#ends = [];
    for (const end of ends) end({ code: 14, message: 'dropped' });
  }

  open(method: string, events: StreamEvents): ReturnType<XdsTransport['open']> {
    this.methods.push(method);
    let open = true;
    if (this.refuse) {
      queueMicrotask(() => events.end({ code: 14, message: 'refused' }));
      return { send: () => undefined, close: () => undefined };
    }
    const server = new SotwServer({
      send: (bytes) => queueMicrotask(() => open && events.message(bytes)),
      content: (url) => this.content.get(url),
    });
    this.servers.push(server);
    this.#ends.push((status) => {
      open = false;
      events.end(status);
    });
    return {
      send: (bytes) =>
        queueMicrotask(() => {
          if (!open) return;
          const o = server.received(bytes);
          this.outcomes.push(`${o.kind}${o.message ? ` ${o.message}` : ''}`);
        }),
      close: () => {
        open = false;
      },
    };
  }
}

/** Lets every queued message arrive. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

export const TYPES = { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE };
