// Every recorded xDS answer into a live data plane, type after type in a control plane's order: what is refused, and in which words.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLog } from '../../src/base/log.ts';
import { createDataPlane, type DataPlane } from '../../src/proxy/data-plane.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { decodeNamed, encodeNamed } from '../../src/xds/codec.ts';
import { fromJsonNamed } from '../../src/xds/json.ts';
import { recordedAny } from './recorded-control.ts';
import type { RecordedXds } from './scenario.ts';

export const RECORDED_FILES: readonly string[] = ['xds.jsonl', 'xds-istio.jsonl'];

export interface Refusal {
  readonly id: string;
  readonly why: string;
}
export interface Acceptance {
  readonly records: number;
  readonly resources: number;
  readonly refusals: readonly Refusal[];
}

type Feed = (plane: DataPlane, resource: never) => void;
/** In the order of an aggregated stream. */
const TYPES: readonly (readonly [keyof RecordedXds, string, Feed])[] = [
  ['clusters', 'envoy.config.cluster.v3.Cluster', (plane, cluster) => plane.setCluster(cluster)],
  ['endpoints', 'envoy.config.endpoint.v3.ClusterLoadAssignment', (plane, assignment) => plane.setEndpoints(assignment)],
  ['listeners', 'envoy.config.listener.v3.Listener', (plane, listener) => plane.setListener(listener)],
  ['routes', 'envoy.config.route.v3.RouteConfiguration', (plane, routes) => plane.setRoutes(routes)],
  ['extensions', 'envoy.config.core.v3.TypedExtensionConfig', (plane, config) => plane.setExtension(config)],
];

/** As it comes off a stream: through the wire format. */
const received = (type: string, raw: object): unknown => {
  const { '@type': _type, ...json } = recordedAny(raw) as Record<string, unknown>;
  return decodeNamed(type, encodeNamed(type, fromJsonNamed(type, json)));
};

/** `certs` stands for the folder the recordings name. Nothing listens: the recorded addresses are not this machine's. */
export const acceptRecords = async (oracle: string, certs: string, only: readonly string[] = []): Promise<Acceptance> => {
  const refusals: Refusal[] = [];
  let [records, resources] = [0, 0];
  for (const file of RECORDED_FILES.map((name) => join(oracle, name)).filter((path) => existsSync(path))) {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      if (line === '') continue;
      const record = JSON.parse(line.replaceAll('/certs/', `${certs}/`)) as RecordedXds;
      if (record.listeners === undefined || (only.length > 0 && !only.includes(record.name))) continue;
      records++;
      const plane = createDataPlane({
        log: createLog(
          'accept',
          () => {},
          () => new Date(),
        ),
        observer: silentObserver,
      });
      for (const [field, type, feed] of TYPES) {
        for (const raw of (record[field] ?? []) as readonly object[]) {
          resources++;
          try {
            const resource = received(type, raw) as { readonly name?: string };
            feed(plane, (field === 'listeners' ? { ...resource, bind_to_port: false } : resource) as never);
          } catch (cause) {
            const named = raw as { readonly name?: string; readonly cluster_name?: string };
            const why = cause instanceof Error ? cause.message : String(cause);
            refusals.push({ id: `${record.name} ${field} ${named.name ?? named.cluster_name}`, why });
          }
        }
      }
      await plane.close();
    }
  }
  return { records, resources, refusals };
};
