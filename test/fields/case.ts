// What a case is: configuration, what is done with it, and what is seen then. The runner (main.ts) blanks the configuration's fields
// one by one; a case that sees the same without a field does not prove it.
import { createLog } from '../../src/base/log.ts';
import { createDataPlane, type DataPlane, type DataPlaneOptions } from '../../src/proxy/data-plane.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { setResource } from '../../src/proxy/xds/apply.ts';
import type { Cluster, ClusterLoadAssignment, Listener, MessageTypes, RouteConfiguration, Secret } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, type ResourceType, ROUTE_TYPE, SECRET_TYPE } from '../../src/xds/resource-types.ts';

/** One message of the configuration. */
export interface Part {
  readonly type: keyof MessageTypes;
  readonly message: object;
}

export interface FieldCase {
  readonly name: string;
  /** Made once, before the first run: what lives beside the proxy. */
  readonly start?: () => Promise<AsyncDisposable>;
  readonly parts: () => readonly Part[];
  /** Throws, or says what was seen: plain data. Must not depend on runs before it. */
  readonly observe: (parts: readonly Part[]) => Promise<unknown> | unknown;
  readonly expect: unknown;
}

export const cluster = (message: Cluster): Part => ({ type: 'envoy.config.cluster.v3.Cluster', message });
export const listener = (message: Listener): Part => ({ type: 'envoy.config.listener.v3.Listener', message });
export const routes = (message: RouteConfiguration): Part => ({ type: 'envoy.config.route.v3.RouteConfiguration', message });
export const endpoints = (message: ClusterLoadAssignment): Part => ({ type: 'envoy.config.endpoint.v3.ClusterLoadAssignment', message });
export const secret = (message: Secret): Part => ({ type: 'envoy.extensions.transport_sockets.tls.v3.Secret', message });

/** The message of the only part of a type. */
export const only = <K extends keyof MessageTypes>(parts: readonly Part[], type: K): MessageTypes[K] => {
  const found = parts.find((p) => p.type === type);
  if (found === undefined) throw new Error(`no ${type}`);
  return found.message as MessageTypes[K];
};

const TYPES: ReadonlyMap<string, ResourceType> = new Map(
  [SECRET_TYPE, CLUSTER_TYPE, ENDPOINT_TYPE, ROUTE_TYPE, LISTENER_TYPE].map((type) => [type.type, type]),
);

export interface LivePlane {
  readonly plane: DataPlane;
  readonly problems: readonly string[];
  port(listener?: string): number;
}

/** A data plane with the parts that are resources, for as long as `probe` takes. */
export const live =
  (probe: (at: LivePlane) => Promise<unknown>, options: () => Partial<DataPlaneOptions> = () => ({})): FieldCase['observe'] =>
  async (parts) => {
    const problems: string[] = [];
    const plane = createDataPlane({
      log: createLog(
        'fields',
        (line) => problems.push(line),
        () => new Date(0),
      ),
      observer: silentObserver,
      ...options(),
    });
    try {
      for (const type of TYPES.values()) for (const part of parts) if (part.type === type.type) setResource(type, part.message, plane);
      await plane.settled();
      return await probe({ plane, problems, port: (name) => portOf(plane, name) });
    } finally {
      await plane.close();
    }
  };

const portOf = (plane: DataPlane, name: string | undefined): number => {
  for (const view of plane.listeners())
    if (name === undefined || view.name === name) return Number(view.localAddress.slice(view.localAddress.lastIndexOf(':') + 1));
  throw new Error(`no listener ${name ?? ''}`);
};
