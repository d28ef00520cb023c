// What Istio's webhook asks of a WorkloadGroup: a template, whose address comes with each workload, and a probe that can be run.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { WorkloadGroup } from '../../specs.ts';
import { checkPort, checkPortName } from '../../values/host-name.ts';
import { checkLabels } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';

type Probe = NonNullable<WorkloadGroup['probe']>;

export const checkWorkloadGroup: Check<WorkloadGroup> = (spec, path, findings) => {
  checkLabels(spec.metadata?.labels, below(path, 'metadata.labels'), findings);
  checkTemplate(spec.template ?? {}, child(path, 'template'), findings);
  if (spec.probe) checkProbe(spec.probe, child(path, 'probe'), findings);
};

/** Its address is that of each workload, and what stands for it here is not looked at, as in Istio. */
const checkTemplate = (template: WorkloadGroup['template'], path: string, findings: Findings): void => {
  for (const [name, port] of Object.entries(template.ports ?? {})) {
    const at = child(child(path, 'ports'), name);
    findings.unless(at, checkPortName(name));
    findings.unless(at, checkPort(port));
  }
  checkLabels(template.labels, child(path, 'labels'), findings);
};

const seconds = ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const;

const checkProbe = (probe: Probe, path: string, findings: Findings): void => {
  for (const field of seconds) if ((probe[field] ?? 0) < 0) findings.error(child(path, field), `${field} must be non-negative`);
  const { httpGet, tcpSocket, exec, grpc } = probe;
  if (!httpGet && !tcpSocket && !exec && !grpc) findings.error(path, 'probe must have one of httpGet, tcpSocket, exec and grpc');
  if (httpGet) checkHttpGet(httpGet, child(path, 'httpGet'), findings);
  if (tcpSocket) findings.unless(below(path, 'tcpSocket.port'), checkPort(tcpSocket.port ?? 0));
  if (grpc) findings.unless(below(path, 'grpc.port'), checkPort(grpc.port ?? 0));
  if (exec && !exec.command?.length) findings.error(child(path, 'exec'), 'exec.command is required');
};

const checkHttpGet = (get: NonNullable<Probe['httpGet']>, path: string, findings: Findings): void => {
  findings.unless(child(path, 'port'), checkPort(get.port ?? 0));
  if (!['', 'HTTP', 'HTTPS'].includes(get.scheme ?? '')) findings.error(child(path, 'scheme'), 'scheme must be one of HTTP, HTTPS');
  for (const [index, header] of (get.httpHeaders ?? []).entries()) {
    const name = header.name ?? '';
    // As strict as Kubernetes is about probes.
    if (!/^[-A-Za-z0-9]+$/.test(name))
      findings.error(
        child(item(child(path, 'httpHeaders'), index), 'name'),
        `header name ${JSON.stringify(name)} is not a valid header name`,
      );
  }
};
