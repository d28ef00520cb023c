// What Istio's webhook asks of a PeerAuthentication.

import { child } from '../../reading/field-path.ts';
import type { PeerAuthentication } from '../../specs.ts';
import { checkSelector } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';

export const checkPeerAuthentication: Check<PeerAuthentication> = (spec, path, findings) => {
  const ports = Object.keys(spec.portLevelMtls ?? {});
  const at = child(path, 'portLevelMtls');
  if (ports.length > 0 && Object.keys(spec.selector?.matchLabels ?? {}).length === 0) {
    findings.error(at, 'mesh/namespace peer authentication cannot have port level mTLS', 'add a selector');
  }
  if (spec.portLevelMtls && ports.length === 0) findings.error(at, 'port level mTLS, if defined, must have at least one element');
  for (const port of ports) {
    const number = Number(port);
    if (number < 1 || number > 65535) findings.error(child(at, port), 'port must be in range 1..65535');
  }
  if (spec.selector) checkSelector(spec.selector.matchLabels, child(path, 'selector'), findings);
};
