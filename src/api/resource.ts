// A resource: one checked object of a kind Skein reads, with the place it came from. Made only by parse-documents.ts and, for objects
// that no file holds, by `objectOrigin`. Never changes after it is made.

import type * as specs from './specs.ts';

export interface Specs {
  readonly VirtualService: specs.VirtualService;
  readonly DestinationRule: specs.DestinationRule;
  readonly Gateway: specs.Gateway;
  readonly ServiceEntry: specs.ServiceEntry;
  readonly WorkloadEntry: specs.WorkloadEntry;
  readonly WorkloadGroup: specs.WorkloadGroup;
  readonly Sidecar: specs.Sidecar;
  readonly EnvoyFilter: specs.EnvoyFilter;
  readonly ProxyConfig: specs.ProxyConfig;
  readonly Telemetry: specs.Telemetry;
  readonly WasmPlugin: specs.WasmPlugin;
  readonly TrafficExtension: specs.TrafficExtension;
  readonly PeerAuthentication: specs.PeerAuthentication;
  readonly RequestAuthentication: specs.RequestAuthentication;
  readonly AuthorizationPolicy: specs.AuthorizationPolicy;
  readonly Service: specs.Service;
  readonly ServiceAccount: specs.ServiceAccount;
  readonly Namespace: specs.Namespace;
  readonly Pod: specs.Pod;
  readonly Endpoints: specs.Endpoints;
  readonly EndpointSlice: specs.EndpointSlice;
  readonly Secret: specs.Secret;
  readonly ConfigMap: specs.ConfigMap;
  readonly Workload: specs.Workload;
}

export type Kind = keyof Specs;

/** Where in its file an object stands. */
export interface Origin {
  readonly file: string;
  /** Line of the document's first key, from 1. */
  readonly line: number;
  /** Position of `spec.http[0].route`, or of the nearest node above it that exists. From 1. */
  at(path: string): { readonly line: number; readonly column: number };
}

export interface Resource<K extends Kind = Kind> {
  readonly kind: K;
  /** As written; every served version of a kind is the same object. */
  readonly apiVersion: string;
  readonly name: string;
  /** Empty for cluster-wide kinds (Namespace). */
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly creationTimestamp: string | undefined;
  readonly spec: Specs[K];
  readonly origin: Origin;
  /** False for a workload that its health check has not found healthy. */
  readonly ready?: boolean;
  /** Of a Service: addresses and names at which a load balancer answers for it, as its status says. */
  readonly balancers?: readonly string[];
}

export const isKind = <K extends Kind>(resource: Resource, kind: K): resource is Resource<K> => resource.kind === kind;

export const ofKind = <K extends Kind>(resources: readonly Resource[], kind: K): Resource<K>[] =>
  resources.filter((r): r is Resource<K> => r.kind === kind);

/** `VirtualService/production/payment-service`. */
export const resourceKey = (r: { readonly kind: string; readonly namespace: string; readonly name: string }): string =>
  `${r.kind}/${r.namespace}/${r.name}`;

/** For objects made by a program (tests, registrations): every path is line 1. */
export const objectOrigin = (file: string): Origin => ({ file, line: 1, at: () => ({ line: 1, column: 1 }) });
