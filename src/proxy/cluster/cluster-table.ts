// The clusters of a data plane by name, and the endpoints that came for them. A changed cluster serves on until its successor is warm.

import type { Cluster, ClusterLoadAssignment } from '../../xds/gen/types.ts';
import type { LocalCluster } from '../balance/zone-aware.ts';
import { stable } from '../stable-text.ts';
import { type ClusterEnvironment, ClusterRuntime } from './cluster-runtime.ts';

interface Entry {
  active: ClusterRuntime | undefined;
  warming: ClusterRuntime | undefined;
  readonly text: string;
}

export class ClusterTable {
  readonly #entries = new Map<string, Entry>();
  readonly #assignments = new Map<string, ClusterLoadAssignment>();

  /** What everybody else asks by name. */
  readonly lookup = {
    cluster: (name: string): ClusterRuntime | undefined => this.active(name),
    knowsCluster: (name: string): boolean => this.#entries.has(name),
  };

  active(name: string): ClusterRuntime | undefined {
    return this.#entries.get(name)?.active;
  }

  /** False: it is what is there already. */
  set(cluster: Cluster, options: ClusterEnvironment): boolean {
    const name = cluster.name ?? '';
    const entry = this.#entries.get(name);
    const text = stable(cluster);
    if (entry?.text === text) return false;
    const runtime = new ClusterRuntime(cluster, options);
    entry?.warming?.retire();
    options.stats.counter(`cluster_manager.cluster_${entry === undefined ? 'added' : 'modified'}`).value++;
    this.#entries.set(name, { active: entry?.active, warming: runtime, text });
    const endpoints = runtime.endpointsName;
    const assignment = endpoints === undefined ? undefined : this.#assignments.get(endpoints);
    if (assignment !== undefined) runtime.setAssignment(assignment);
    return true;
  }

  /** Answers the name that it was counted under; undefined: there was none. */
  remove(name: string): string | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    this.#entries.delete(name);
    entry.warming?.retire();
    entry.active?.retire();
    const referenced = this.referencedEndpoints();
    for (const key of this.#assignments.keys()) if (!referenced.has(key)) this.#assignments.delete(key);
    return (entry.active ?? entry.warming)?.statName ?? name;
  }

  setEndpoints(assignment: ClusterLoadAssignment): void {
    const name = assignment.cluster_name ?? '';
    for (const { active, warming } of this.#entries.values())
      for (const cluster of [active, warming])
        if (cluster !== undefined && cluster.endpointsName === name) cluster.setAssignment(assignment);
    this.#assignments.set(name, assignment);
  }

  referencedEndpoints(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { active, warming } of this.#entries.values()) {
      const name = (warming ?? active)?.endpointsName;
      if (name !== undefined) names.add(name);
    }
    return names;
  }

  *views(): Iterable<ClusterRuntime> {
    for (const { active, warming } of this.#entries.values()) {
      const cluster = active ?? warming;
      if (cluster !== undefined) yield cluster;
    }
  }

  *actives(): Iterable<ClusterRuntime> {
    for (const { active } of this.#entries.values()) if (active !== undefined) yield active;
  }

  /** The proxy's own, as balancing between zones sees it. */
  local(of: { readonly name: string; readonly locality: LocalCluster['locality'] } | undefined): LocalCluster | undefined {
    const cluster = of === undefined ? undefined : this.active(of.name);
    if (of === undefined || cluster === undefined) return undefined;
    return { membership: cluster.membership, panicThreshold: cluster.panicThreshold, locality: of.locality };
  }

  /** What is complete now takes its place. */
  warm(): void {
    for (const entry of this.#entries.values()) {
      const next = entry.warming;
      if (next === undefined || !next.warm) continue;
      entry.active?.retire();
      entry.active = next;
      entry.warming = undefined;
    }
  }

  get ready(): boolean {
    for (const { warming } of this.#entries.values()) if (warming !== undefined) return false;
    return true;
  }

  destroy(): void {
    for (const { active, warming } of this.#entries.values()) {
      active?.destroy();
      warming?.destroy();
    }
  }
}
