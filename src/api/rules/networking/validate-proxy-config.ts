// What Istio's webhook asks of the kind ProxyConfig.

import { child } from '../../reading/field-path.ts';
import type { ProxyConfig } from '../../specs.ts';
import { checkSelector } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';

export const checkProxyConfig: Check<ProxyConfig> = (spec, path, findings) => {
  if (spec.selector) checkSelector(spec.selector.matchLabels, child(path, 'selector'), findings);
  if ((spec.concurrency ?? 0) < 0) findings.error(child(path, 'concurrency'), 'concurrency must be greater than or equal to 0');
};
