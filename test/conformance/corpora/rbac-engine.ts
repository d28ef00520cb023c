// Decides a request by Envoy's RBAC filters with the decisions that the sidecar compiles from them: the first filter that denies ends it.

import type { AuthzView } from '../../../src/plan/authz/authz-view.ts';
import { AuthzCompilation } from '../../../src/plan/authz/matchers.ts';
import { type AuthzPolicies, compilePolicies, NO_POLICY } from '../../../src/plan/authz/policies.ts';
import { compilePrincipal } from '../../../src/plan/authz/principal.ts';
import type { TlsFacts } from '../../../src/plan/stream-info.ts';
import { HeaderBlock } from '../../../src/wire/header-block.ts';
import type { HttpFilter, HttpRbac_RBAC, JsonObject, Principal, Rbac_RBAC } from '../../../src/xds/gen/types.ts';
import { type Row, row, text } from './case.ts';

type Request = Row;

const NOBODY = { subject: '', issuer: '', dnsSans: [], ipSans: [], emailSans: [], serial: '', sha256Fingerprint: '', sha1Fingerprint: '' };

const tlsOf = (identity: unknown): TlsFacts | undefined => {
  if (typeof identity !== 'string') return undefined;
  const peer = { ...NOBODY, uriSans: [identity], pem: '', notBefore: 0, notAfter: 0 };
  return { version: 'TLSv1.3', cipher: '', sessionId: '', peer, local: undefined, validated: true };
};

const textOr = (value: unknown): string => (value === undefined ? '' : text(value));

const viewOf = (request: Request): AuthzView => {
  const headers = new HeaderBlock();
  for (const [name, value] of Object.entries(row(request['headers']))) headers.add(name.toLowerCase(), String(value));
  const [method, path, authority] = [textOr(request['method']), textOr(request['path']), textOr(request['host'])];
  const metadata = { 'envoy.filters.http.jwt_authn': { payload: row(request['jwt']) }, ...row(request['metadata']) };
  return {
    request: { method, path, authority, scheme: 'http', headers },
    localIp: textOr(request['destinationIP']),
    localPort: Number(request['destinationPort'] ?? 0),
    sourceIp: textOr(request['sourceIP']),
    directRemoteIp: textOr(request['sourceIP']),
    remoteIp: textOr(request['remoteIP']),
    sni: textOr(request['sni']),
    tls: tlsOf(request['peerPrincipal']),
    dynamicMetadata: metadata as JsonObject,
    routeMetadata: undefined,
    filterState: undefined,
  };
};

export const principalMatches = (p: Principal, request: Request): boolean =>
  compilePrincipal(p, new AuthzCompilation(false), '')(viewOf(request));

export interface RbacDecision {
  readonly decision: 'ALLOW' | 'DENY';
  readonly dryRun: Readonly<Record<string, 'allowed' | 'denied'>>;
  readonly audit: boolean;
  readonly extAuthzTriggered: boolean;
}

export const decide = (filters: readonly HttpFilter[], request: Request): RbacDecision => {
  const view = viewOf(request);
  let denied = false;
  let audit = false;
  let extAuthzTriggered = false;
  const dryRun: Record<string, 'allowed' | 'denied'> = {};
  const ask = (rules: Rbac_RBAC): { policies: AuthzPolicies; hit: boolean; allowed: boolean } => {
    const policies = compilePolicies(rules, false, '');
    const at = policies.match(view);
    return { policies, hit: at !== NO_POLICY, allowed: policies.allows(at) };
  };
  for (const f of filters) {
    const config = f.typed_config as unknown as HttpRbac_RBAC & { readonly '@type': string };
    if (denied || !config['@type'].endsWith('rbac.v3.RBAC')) continue;
    const { rules, shadow_rules: shadow, shadow_rules_stat_prefix: prefix = '' } = config;
    if (shadow !== undefined) {
      const { hit, allowed } = ask(shadow);
      if (prefix.startsWith('istio_ext_authz')) extAuthzTriggered ||= hit;
      else dryRun[shadow.action === 'DENY' ? 'DENY' : 'ALLOW'] = allowed ? 'allowed' : 'denied';
    }
    if (rules === undefined) continue;
    const { hit, allowed } = ask(rules);
    if (rules.action === 'LOG') audit ||= hit;
    denied = !allowed;
  }
  return { decision: denied ? 'DENY' : 'ALLOW', dryRun, audit, extAuthzTriggered };
};
