// What security policies say that does not take effect as it reads: policies behind older ones or in a place where they do nothing,
// keys that cannot be had, authorizers that cannot be asked. Where that leaves something open or shut, the message says which.

import type { Problem } from '../api/problem.ts';
import type { Resource } from '../api/resource.ts';
import { type AuthorizationPolicy, isDryRun } from './authorization.ts';
import { findAuthorizer } from './authorizers.ts';
import { keySourceOf } from './key-sets.ts';
import { modeForPort } from './peer-authentication.ts';
import type { Snapshot } from './snapshot.ts';

/** Codes of this subject, with what they mean. */
const codes = {
  PEER_AUTHENTICATION_NO_EFFECT: 'a PeerAuthentication of the root namespace that selects workloads selects none',
  PEER_AUTHENTICATION_SHADOWED: 'an older PeerAuthentication speaks for the same workloads; this one has no effect',
  SERVER_TLS_UNUSED: "a Sidecar gives a port a certificate of the application's, and mutual TLS of the mesh takes the port's connections",
  AUTHORIZER_UNUSABLE: 'a CUSTOM policy names an authorizer that cannot be asked; what the policy matches is denied',
  AUTHORIZERS_SEVERAL: 'a workload has one external authorizer; where policies name several, what they match is denied',
  DRY_RUN_DENIES: 'an authorizer cannot be asked on trial; what a CUSTOM policy with the annotation matches is denied, as in Istio',
  KEYS_MISSING: 'keys of tokens could not be fetched; every token of the issuer is refused',
  KEYS_UNREADABLE: 'some of the keys that were fetched for tokens cannot be read by any proxy; tokens signed with them are refused',
} as const;

export const policyProblems = (snapshot: Snapshot): readonly Problem[] => [
  ...peerProblems(snapshot),
  ...serverTlsProblems(snapshot),
  ...authorizerProblems(snapshot),
  ...keyProblems(snapshot),
];

const problem = (code: keyof typeof codes, resource: Resource, path: string, message: string): Problem => ({
  code,
  severity: 'warning',
  file: resource.origin.file,
  ...resource.origin.at(path),
  path,
  message,
});

const peerProblems = ({ peerAuthentication, meshConfig }: Snapshot): readonly Problem[] => {
  const first = new Map<string, string>();
  return peerAuthentication.all.flatMap((p) => {
    const labels = Object.entries(p.spec.selector?.matchLabels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    if (labels.length > 0 && p.namespace === meshConfig.rootNamespace) {
      const message = `in the root namespace ${p.namespace} a selector selects nothing: move the policy to the workloads' namespace`;
      return [problem('PEER_AUTHENTICATION_NO_EFFECT', p, 'spec.selector', message)];
    }
    const key = JSON.stringify([p.namespace, labels]);
    const older = first.get(key);
    if (older === undefined) {
      first.set(key, p.name);
      return [];
    }
    return [
      problem(
        'PEER_AUTHENTICATION_SHADOWED',
        p,
        'spec',
        `PeerAuthentication ${p.namespace}/${older} is older and selects the same workloads`,
      ),
    ];
  });
};

/** One connection has one handshake: the port's own certificate is offered only where mutual TLS is off. */
const serverTlsProblems = ({ scopes, peerAuthentication, meshConfig }: Snapshot): readonly Problem[] =>
  scopes.all.flatMap((sidecar) =>
    (sidecar.spec.ingress ?? []).flatMap(({ tls, port }, i) => {
      if (tls === undefined) return [];
      const labels = sidecar.spec.workloadSelector?.labels ?? {};
      const mode = modeForPort(peerAuthentication.forWorkload(sidecar.namespace, labels), port?.number ?? 0);
      // A policy may select workloads by more than the Sidecar does.
      const off = (p: Resource<'PeerAuthentication'>): boolean =>
        p.namespace === sidecar.namespace &&
        p.namespace !== meshConfig.rootNamespace &&
        (p.spec.mtls?.mode === 'DISABLE' || p.spec.portLevelMtls?.[port?.number ?? 0]?.mode === 'DISABLE');
      if (mode === 'DISABLE' || peerAuthentication.all.some(off)) return [];
      const message = `mutual TLS of port ${port?.number ?? 0} is ${mode}: this certificate is never offered, clients outside the mesh ${mode === 'STRICT' ? 'are refused' : 'reach the port without TLS'}`;
      const hint = 'a PeerAuthentication with portLevelMtls DISABLE for this port lets the Sidecar end TLS there';
      return [{ ...problem('SERVER_TLS_UNUSED', sidecar, `spec.ingress[${i}].tls`, message), hint }];
    }),
  );

const authorizerProblems = ({ authorization, meshConfig, services }: Snapshot): readonly Problem[] => {
  const custom = authorization.all.filter((p) => p.spec.action === 'CUSTOM');
  return custom.flatMap((p) => {
    const name = p.spec.provider?.name ?? '';
    const found = findAuthorizer(meshConfig, services.all, name);
    const other = custom.find((o) => (o.spec.provider?.name ?? '') !== name && mayMeet(p, o, meshConfig.rootNamespace));
    return [
      ...(found.ok ? [] : [problem('AUTHORIZER_UNUSABLE', p, 'spec.provider.name', `${found.error}; what this policy matches is denied`)]),
      ...(other === undefined ? [] : [problem('AUTHORIZERS_SEVERAL', p, 'spec.provider.name', several(name, other))]),
      ...(isDryRun(p)
        ? [problem('DRY_RUN_DENIES', p, 'metadata.annotations', 'the dry-run annotation makes a CUSTOM policy deny what it matches')]
        : []),
    ];
  });
};

const several = (name: string, other: AuthorizationPolicy): string =>
  `${other.namespace}/${other.name} names authorizer ${other.spec.provider?.name ?? ''}, this one ${name}: workloads that both select get neither, and what they match is denied`;

/** One workload may be governed by both: no label is asked for with two values. */
const mayMeet = (a: AuthorizationPolicy, b: AuthorizationPolicy, root: string): boolean => {
  if (a.namespace !== b.namespace && a.namespace !== root && b.namespace !== root) return false;
  const wanted = b.spec.selector?.matchLabels ?? {};
  return Object.entries(a.spec.selector?.matchLabels ?? {}).every(([k, v]) => wanted[k] === undefined || wanted[k] === v);
};

const keyProblems = ({ requestAuthentication, keySets }: Snapshot): readonly Problem[] =>
  requestAuthentication.all.flatMap((p) =>
    (p.spec.jwtRules ?? []).flatMap((rule, i) => {
      const source = keySourceOf(rule);
      if (source === undefined) return [];
      const failure = keySets.failed.get(source.id);
      const path = `spec.jwtRules[${i}].${source.discovery ? 'issuer' : 'jwksUri'}`;
      const leftOut = keySets.leftOut?.get(source.id);
      if (leftOut !== undefined)
        return [
          problem(
            'KEYS_UNREADABLE',
            p,
            path,
            `fetched keys of ${rule.issuer ?? 'the rule'} that no proxy can read are left out (${leftOut})`,
          ),
        ];
      if (failure === undefined) return [];
      return [
        problem(
          'KEYS_MISSING',
          p,
          path,
          `the keys of ${rule.issuer ?? 'the rule'} cannot be had (${failure}): every token of it is refused`,
        ),
      ];
    }),
  );
