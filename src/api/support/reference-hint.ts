// Where Istio's reference speaks of a place in a document: the hint of problems that have no better one.

import { splitPath } from '../reading/field-path.ts';
import type { Kind } from '../resource.ts';
import { serverTLSSettings } from '../schema/gateway.ts';
import type { AnyMessage, Schema } from '../schema/schema.ts';
import { policyTargetReference, workloadSelector } from '../schema/selector.ts';
import { workloadSelector as sidecarSelector } from '../schema/sidecar-selector.ts';
import { workloadEntry } from '../schema/workload-entry.ts';

const ROOT = 'https://istio.io/latest/docs/reference/config';

const pages: Readonly<Partial<Record<Kind, string>>> = {
  VirtualService: 'networking/virtual-service',
  DestinationRule: 'networking/destination-rule',
  Gateway: 'networking/gateway',
  ServiceEntry: 'networking/service-entry',
  WorkloadEntry: 'networking/workload-entry',
  WorkloadGroup: 'networking/workload-group',
  Sidecar: 'networking/sidecar',
  EnvoyFilter: 'networking/envoy-filter',
  ProxyConfig: 'networking/proxy-config',
  PeerAuthentication: 'security/peer_authentication',
  RequestAuthentication: 'security/request_authentication',
  AuthorizationPolicy: 'security/authorization-policy',
  Telemetry: 'telemetry',
};

/** Messages that stand on another page than the kinds that have them. */
const shared: ReadonlyMap<AnyMessage, string> = new Map<AnyMessage, string>([
  [workloadSelector, 'type/workload-selector'],
  [policyTargetReference, 'type/workload-selector'],
  [sidecarSelector, 'networking/sidecar'],
  [workloadEntry, 'networking/workload-entry'],
  [serverTLSSettings, 'networking/gateway'],
]);

/** `see …/virtual-service/#HTTPRetry`; undefined for kinds that are not Istio's. */
export const referenceHint = (kind: Kind, schema: AnyMessage, path: string): string | undefined => {
  const page = pages[kind];
  if (page === undefined || !path.startsWith('spec')) return undefined;
  let message = schema;
  let at: Schema | undefined = schema;
  for (const step of splitPath(path).slice(1)) {
    at = below(at, step);
    if (at === undefined) break;
    if (at.kind === 'message') message = at;
  }
  return `see ${ROOT}/${shared.get(message) ?? page}/#${message.name.replaceAll('.', '-')}`;
};

const below = (schema: Schema, step: string | number): Schema | undefined => {
  if (schema.kind === 'list' || schema.kind === 'map') return schema.of;
  return schema.kind === 'message' && Object.hasOwn(schema.fields, step) ? schema.fields[step] : undefined;
};
