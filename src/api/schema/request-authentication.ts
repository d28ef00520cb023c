// The fields of Istio's request authentication messages (security v1beta1). Facts only: what they mean is checked elsewhere.

import { bool, duration, list, message, string } from './schema.ts';
import { policyTargetReference, workloadSelector } from './selector.ts';

export const jwtHeader = message(
  'JWTHeader',
  {
    name: string,
    prefix: string,
  },
  { required: ['name'], limits: { name: { minLength: 1 } } },
);

export const claimToHeader = message(
  'ClaimToHeader',
  {
    header: string,
    claim: string,
  },
  { required: ['header', 'claim'], limits: { header: { minLength: 1, pattern: '^[-_A-Za-z0-9]+$' }, claim: { minLength: 1 } } },
);

export const jwtRule = message(
  'JWTRule',
  {
    issuer: string,
    audiences: list(string),
    jwksUri: string,
    jwks: string,
    fromHeaders: list(jwtHeader),
    fromParams: list(string),
    outputPayloadToHeader: string,
    fromCookies: list(string),
    forwardOriginalToken: bool,
    outputClaimToHeaders: list(claimToHeader),
    timeout: duration,
    spaceDelimitedClaims: list(string),
  },
  {
    limits: {
      issuer: { minLength: 1 },
      audiences: { each: { minLength: 1 } },
      jwksUri: { minLength: 1, maxLength: 2048 },
      fromParams: { each: { minLength: 1 } },
      fromCookies: { each: { minLength: 1 } },
      spaceDelimitedClaims: { maxItems: 64, each: { minLength: 1 } },
    },
  },
);

export const requestAuthentication = message(
  'RequestAuthentication',
  {
    selector: workloadSelector,
    targetRef: policyTargetReference,
    targetRefs: list(policyTargetReference),
    jwtRules: list(jwtRule),
  },
  { limits: { targetRefs: { maxItems: 16 }, jwtRules: { maxItems: 4096 } } },
);
