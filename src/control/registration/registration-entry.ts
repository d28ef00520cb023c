// A workload that comes by itself, as an object: what its group's template, its node and its health say, put together as Istio's
// control plane does. Pure: the store keeps what this makes, the registrations decide when.
import { isIP } from 'node:net';
import { HEALTH_ANNOTATION, isChecked } from '../../api/reading/entry-health.ts';
import { objectOrigin, type Resource } from '../../api/resource.ts';
import type { WorkloadEntry } from '../../api/specs.ts';
import { isLabelKey, isLabelValue, isObjectName } from '../../api/values/label-text.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { localityKey } from '../../mesh/service.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import { TAKES_PROBES } from '../../xds/client-features.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import { REGISTRATION_NAME_CHARS_MAX, REGISTRATION_TEXT_CHARS_MAX } from '../limits.ts';

/** Who runs the probe that an entry's health comes from, if anybody does: a probe of the node's own, or its group's. */
export type ProbedBy = 'nobody' | 'node' | 'group';

/** What a node says of itself when it comes. */
export interface Registrant {
  readonly namespace: string;
  readonly group: string;
  readonly address: string;
  readonly network: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `region/zone/subzone`; '' when it does not say. */
  readonly locality: string;
  readonly probes: Exclude<ProbedBy, 'nobody'> | 'none';
}

export interface Health {
  readonly healthy: boolean;
  readonly message: string;
  readonly probedAt: string;
  readonly changedAt: string;
}

/** One entry, as it lies on disk. */
export interface Registration {
  readonly name: string;
  readonly namespace: string;
  readonly group: string;
  /** Proven by the token that it was made under: nobody else takes it over. */
  readonly serviceAccount: string;
  readonly workload: string;
  readonly createdAt: string;
  /** Of the object, without those that say who is connected. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: WorkloadEntry;
  readonly probedBy: ProbedBy;
  readonly controller: string;
  /** One of the two. */
  readonly connectedAt?: string | undefined;
  readonly disconnectedAt?: string | undefined;
  readonly health?: Health | undefined;
}

const GROUP_ANNOTATION = 'istio.io/autoRegistrationGroup';
const LABELS_MAX = 256;

/** Undefined for a node that does not register; an error says what of it cannot be an object. */
export const registrantOf = (node: ProxyNode): Result<Registrant, string> | undefined => {
  const { metadata, labels, namespace } = node;
  const group = text(metadata['AUTO_REGISTER_GROUP']);
  if (group === '') return undefined;
  const network = text(metadata['NETWORK']);
  const [address = ''] = node.ipAddresses;
  if (isIP(address) === 0) return err(`its address ${JSON.stringify(address.slice(0, 64))} is not an IP address`);
  if (network !== '' && !isObjectName(network)) return err(`its network ${JSON.stringify(network.slice(0, 64))} is not a lower-case name`);
  const bad = Object.entries(labels).find(([key, value]) => !isLabelKey(key) || !isLabelValue(value));
  if (bad) return err(`its label ${JSON.stringify(bad.join('=').slice(0, 128))} is not a label`);
  if (Object.keys(labels).length > LABELS_MAX) return err(`it has more than ${LABELS_MAX} labels`);
  const locality = localityKey(node.locality).replace(/\/+$/, '');
  if (locality.length > REGISTRATION_TEXT_CHARS_MAX) return err('its locality is too long');
  return ok({ namespace, group, address, network, labels, locality, probes: probesOf(metadata) });
};

const probesOf = (metadata: ProxyNode['metadata']): Registrant['probes'] => {
  const own = (metadata['PROXY_CONFIG'] as JsonObject | null | undefined)?.['readinessProbe'];
  if (typeof own === 'object' && own !== null) return 'node';
  return metadata[TAKES_PROBES] === 'true' ? 'group' : 'none';
};

/** `<group>-<ip>[-<network>]`; of a name that is too long its end. */
export const entryName = ({ group, address, network }: Registrant): string => {
  const name = [group, address.replaceAll(':', '-'), ...(network === '' ? [] : [network])].join('-');
  return name.slice(-REGISTRATION_NAME_CHARS_MAX).replace(/^[^a-z0-9]+/, '');
};

export const probedBy = (probes: Registrant['probes'], group: Resource<'WorkloadGroup'>): ProbedBy =>
  probes === 'node' || (probes === 'group' && group.spec.probe !== undefined) ? probes : 'nobody';

/** Labels: the node's before the group's before the template's. */
export const specOf = (r: Registrant, group: Resource<'WorkloadGroup'>): WorkloadEntry => {
  const { template, metadata } = group.spec;
  const { network = '', locality, ...rest } = template;
  return {
    ...rest,
    address: r.address,
    labels: { ...template.labels, ...metadata?.labels, ...r.labels },
    ...(r.network === '' && network === '' ? {} : { network: r.network || network }),
    ...(r.locality !== '' ? { locality: r.locality } : locality === undefined ? {} : { locality }),
  };
};

export const annotationsOf = (group: Resource<'WorkloadGroup'>): Readonly<Record<string, string>> => ({
  [GROUP_ANNOTATION]: group.name,
  ...group.spec.metadata?.annotations,
});

const objectAnnotations = (r: Registration): Readonly<Record<string, string>> =>
  r.probedBy === 'nobody' ? r.annotations : { ...r.annotations, [HEALTH_ANNOTATION]: 'true' };

/** As long as nobody has found a checked workload healthy it gets nothing. */
const isReady = (r: Registration): boolean => !isChecked(objectAnnotations(r)) || r.health?.healthy === true;

/** What the mesh is made from. `before` where nothing of that differs: who reads it can tell by its identity. */
export const resourceOf = (r: Registration, before: Resource<'WorkloadEntry'> | undefined): Resource<'WorkloadEntry'> => {
  const ready = isReady(r);
  const annotations = objectAnnotations(r);
  if (before?.spec === r.spec && (before.ready !== false) === ready && sameText(before.annotations, annotations)) return before;
  return {
    kind: 'WorkloadEntry',
    apiVersion: 'networking.istio.io/v1',
    name: r.name,
    namespace: r.namespace,
    labels: r.spec.labels ?? {},
    annotations,
    creationTimestamp: r.createdAt,
    spec: r.spec,
    origin: objectOrigin(`${r.workload}.${r.namespace}`),
    ...(ready ? {} : { ready: false }),
  };
};

const sameText = (a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([k, v]) => b[k] === v);

/** What `get` shows beyond the resource. */
export const entryMetadata = (r: Registration): Readonly<Record<string, unknown>> => ({
  annotations: {
    ...objectAnnotations(r),
    'istio.io/workloadController': r.controller,
    ...(r.connectedAt === undefined ? {} : { 'istio.io/connectedAt': r.connectedAt }),
    ...(r.disconnectedAt === undefined ? {} : { 'istio.io/disconnectedAt': r.disconnectedAt }),
  },
  ownerReferences: [{ apiVersion: 'networking.istio.io/v1', kind: 'WorkloadGroup', name: r.group, controller: true }],
});

export const entryStatus = ({ health }: Registration): Readonly<Record<string, unknown>> | undefined =>
  health && {
    conditions: [
      {
        type: 'Healthy',
        status: health.healthy ? 'True' : 'False',
        ...(health.message === '' ? {} : { message: health.message }),
        lastProbeTime: health.probedAt,
        lastTransitionTime: health.changedAt,
      },
    ],
  };

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
