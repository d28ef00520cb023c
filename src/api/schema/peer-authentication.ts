// The fields of Istio's peer authentication messages (security v1beta1). Facts only: what they mean is checked elsewhere.

import { enumeration, map, message } from './schema.ts';
import { workloadSelector } from './selector.ts';

export const peerAuthenticationMutualTLSMode = enumeration(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']);

export const peerAuthenticationMutualTLS = message('PeerAuthentication.MutualTLS', {
  mode: peerAuthenticationMutualTLSMode,
});

export const peerAuthentication = message(
  'PeerAuthentication',
  {
    selector: workloadSelector,
    mtls: peerAuthenticationMutualTLS,
    portLevelMtls: map(peerAuthenticationMutualTLS, 'uint32'),
  },
  { limits: { portLevelMtls: { minItems: 1 } } },
);
