// The fields of Istio's authorization policy messages (security v1beta1). Facts only: what they mean is checked elsewhere.

import { enumeration, list, message, string } from './schema.ts';
import { policyTargetReference, workloadSelector } from './selector.ts';

export const authorizationPolicyAction = enumeration(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']);

export const source = message(
  'Source',
  {
    principals: list(string),
    notPrincipals: list(string),
    requestPrincipals: list(string),
    notRequestPrincipals: list(string),
    namespaces: list(string),
    notNamespaces: list(string),
    serviceAccounts: list(string),
    notServiceAccounts: list(string),
    ipBlocks: list(string),
    notIpBlocks: list(string),
    remoteIpBlocks: list(string),
    notRemoteIpBlocks: list(string),
    trustDomains: list(string),
    notTrustDomains: list(string),
  },
  {
    limits: { serviceAccounts: { maxItems: 16, each: { maxLength: 320 } }, notServiceAccounts: { maxItems: 16, each: { maxLength: 320 } } },
  },
);

export const ruleFrom = message('Rule.From', {
  source: source,
});

export const operation = message('Operation', {
  hosts: list(string),
  notHosts: list(string),
  ports: list(string),
  notPorts: list(string),
  methods: list(string),
  notMethods: list(string),
  paths: list(string),
  notPaths: list(string),
});

export const ruleTo = message('Rule.To', {
  operation: operation,
});

export const condition = message(
  'Condition',
  {
    key: string,
    values: list(string),
    notValues: list(string),
  },
  { required: ['key'] },
);

export const rule = message(
  'Rule',
  {
    from: list(ruleFrom),
    to: list(ruleTo),
    when: list(condition),
  },
  { limits: { from: { maxItems: 512 } } },
);

export const authorizationPolicyExtensionProvider = message('AuthorizationPolicy.ExtensionProvider', {
  name: string,
});

export const authorizationPolicy = message(
  'AuthorizationPolicy',
  {
    selector: workloadSelector,
    targetRef: policyTargetReference,
    targetRefs: list(policyTargetReference),
    rules: list(rule),
    action: authorizationPolicyAction,
    provider: authorizationPolicyExtensionProvider,
  },
  { limits: { targetRefs: { maxItems: 16 }, rules: { maxItems: 512 } } },
);
