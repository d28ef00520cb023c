// `selector`, `targetRef` and `targetRefs` of policies: at most one of them, and only to kinds a policy can attach to.

import type { Findings } from '../findings.ts';
import { child, item } from '../reading/field-path.ts';
import type { AuthorizationPolicy } from '../specs.ts';
import { checkSelector } from '../values/label-text.ts';

type TargetRef = NonNullable<AuthorizationPolicy['targetRef']>;
type Targeted = Pick<AuthorizationPolicy, 'selector' | 'targetRef' | 'targetRefs'>;

const targets: ReadonlySet<string> = new Set([
  '/Service',
  'core/Service',
  'networking.istio.io/ServiceEntry',
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
]);

export const checkTargets = (spec: Targeted, path: string, findings: Findings): void => {
  const set = [spec.selector !== undefined, spec.targetRef !== undefined, (spec.targetRefs ?? []).length > 0].filter(Boolean).length;
  if (set > 1) findings.error(path, 'only one of targetRefs or workloadSelector can be set');
  if (spec.selector) checkSelector(spec.selector.matchLabels, child(path, 'selector'), findings);
  if (spec.targetRef) checkTarget(spec.targetRef, child(path, 'targetRef'), findings);
  for (const [index, ref] of (spec.targetRefs ?? []).entries()) checkTarget(ref, item(child(path, 'targetRefs'), index), findings);
};

const checkTarget = (ref: TargetRef, path: string, findings: Findings): void => {
  if (!ref.name) findings.error(child(path, 'name'), 'targetRef name must be set');
  if (ref.namespace)
    findings.error(child(path, 'namespace'), 'targetRef namespace must not be set; cross namespace referencing is not supported');
  if (targets.has(`${ref.group ?? ''}/${ref.kind ?? ''}`)) return;
  findings.error(
    path,
    `targetRef must be to a Service, ServiceEntry, Gateway or GatewayClass but was ${ref.group ?? ''}/${ref.kind ?? ''}`,
  );
};
