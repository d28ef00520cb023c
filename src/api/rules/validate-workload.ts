// What a Workload (skein.dev/v1) must look like.

import type { Findings } from '../findings.ts';
import { below, child, item } from '../reading/field-path.ts';
import type { Workload, WorkloadReadiness } from '../specs.ts';
import { checkDuration } from '../values/duration-text.ts';
import { checkPort } from '../values/host-name.ts';
import { isObjectName } from '../values/label-text.ts';
import { quantityValue } from '../values/quantity-text.ts';
import { isPortName } from './kubernetes/validate-service.ts';
import type { Check } from './validate-context.ts';

/** More replicas on one machine are a typing error. */
const REPLICAS_MAX = 1000;

export const TEMPLATES_ANNOTATION = 'inject.istio.io/templates';

/** A workload that is a gateway's proxy and nothing else, marked as Istio marks the Pods of a gateway. */
export const isGatewayWorkload = (annotations: Readonly<Record<string, string>>): boolean =>
  annotations[TEMPLATES_ANNOTATION] === 'gateway';

export const checkWorkload: Check<Workload> = (spec, path, findings, context) => {
  const replicas = spec.replicas ?? 1;
  if (replicas < 0 || replicas > REPLICAS_MAX) findings.error(child(path, 'replicas'), `replicas must be in the range 0..${REPLICAS_MAX}`);
  if (isGatewayWorkload(context.annotations)) {
    if (spec.command) findings.error(child(path, 'command'), 'a gateway runs no command of its own');
  } else if (!spec.command?.length || spec.command[0] === '') {
    findings.error(
      child(path, 'command'),
      'command must name a program',
      `a gateway has no command and annotation ${TEMPLATES_ANNOTATION}: gateway`,
    );
  }
  if (spec.workingDir === '') findings.error(child(path, 'workingDir'), 'may not be empty');
  if (spec.serviceAccount !== undefined && !isObjectName(spec.serviceAccount)) {
    findings.error(child(path, 'serviceAccount'), `invalid service account name ${JSON.stringify(spec.serviceAccount)}`);
  }
  for (const name of Object.keys(spec.env ?? {})) {
    if (!/^[^=\0]+$/.test(name))
      findings.error(child(child(path, 'env'), name), `invalid name of an environment variable: ${JSON.stringify(name)}`);
  }
  checkBuckets(context.annotations, findings);
  const names = checkPorts(spec, path, findings);
  if (spec.readiness) checkReadiness(spec.readiness, child(path, 'readiness'), findings, names);
  for (const field of ['memory', 'cpu'] as const) {
    const limit = spec.resources?.limits?.[field];
    if (limit !== undefined && !((quantityValue(limit) ?? 0) > 0)) {
      findings.error(
        below(path, `resources.limits.${field}`),
        `${JSON.stringify(limit)} is not a quantity`,
        field === 'memory' ? 'such as 128Mi' : 'such as 500m',
      );
    }
  }
};

const BUCKETS_ANNOTATION = 'sidecar.istio.io/statsHistogramBuckets';

const checkBuckets = (annotations: Readonly<Record<string, string>>, findings: Findings): void => {
  const text = annotations[BUCKETS_ANNOTATION];
  if (text === undefined || isBuckets(text)) return;
  findings.error(
    child('metadata.annotations', BUCKETS_ANNOTATION),
    'must be JSON: lists of numbers above 0 by prefix of a metric',
    '{"istiocustom": [1, 5, 10]}',
  );
};

const isBuckets = (text: string): boolean => {
  try {
    const read: unknown = JSON.parse(text);
    const bounds = (list: unknown): boolean =>
      Array.isArray(list) && list.length > 0 && list.every((n) => typeof n === 'number' && Number.isFinite(n) && n > 0);
    return typeof read === 'object' && read !== null && !Array.isArray(read) && Object.values(read).every(bounds);
  } catch {
    return false;
  }
};

const checkPorts = (spec: Workload, path: string, findings: Findings): ReadonlySet<string> => {
  const names = new Set<string>();
  const numbers = new Set<number>();
  for (const [index, port] of (spec.ports ?? []).entries()) {
    const at = item(child(path, 'ports'), index);
    findings.unless(child(at, 'port'), checkPort(port.port));
    if (numbers.has(port.port)) findings.error(child(at, 'port'), `duplicate port ${port.port}`);
    numbers.add(port.port);
    if (port.name === undefined) continue;
    if (!isPortName(port.name)) findings.error(child(at, 'name'), `invalid port name: ${JSON.stringify(port.name)}`);
    if (names.has(port.name)) findings.error(child(at, 'name'), `duplicate port name ${port.name}`);
    names.add(port.name);
  }
  return names;
};

const checkReadiness = (readiness: WorkloadReadiness, path: string, findings: Findings, names: ReadonlySet<string>): void => {
  const { httpGet, tcpSocket, exec } = readiness;
  if (!httpGet && !tcpSocket && !exec) findings.error(path, 'readiness must have one of httpGet, tcpSocket and exec');
  for (const [field, probe] of [['httpGet', httpGet] as const, ['tcpSocket', tcpSocket] as const]) {
    if (!probe) continue;
    const at = child(child(path, field), 'port');
    if (typeof probe.port === 'number') findings.unless(at, checkPort(probe.port));
    else if (!names.has(probe.port)) findings.error(at, `no port of this workload is named ${JSON.stringify(probe.port)}`);
  }
  if (httpGet?.path !== undefined && !httpGet.path.startsWith('/')) findings.error(below(path, 'httpGet.path'), 'must begin with "/"');
  if (exec && !exec.command?.length) findings.error(below(path, 'exec.command'), 'command must name a program');
  for (const field of ['period', 'timeout'] as const) {
    const value = readiness[field];
    if (value !== undefined) findings.unless(child(path, field), checkDuration(value));
  }
  if (readiness.failureThreshold !== undefined && readiness.failureThreshold < 1)
    findings.error(child(path, 'failureThreshold'), 'must be at least 1');
};
