// Why a logged request ended as it did: what its response code details and flags say, and the object, file and line behind it, as far as
// the configuration of now still holds it. What a log does not tell (identities, headers, tokens) is assumed, and said to be.

import type { Instance } from '../mesh/instance.ts';
import type { LoggedRequest } from './access-line.ts';
import { type AuthzAnswer, checkAuthz, type Decider } from './authz-check.ts';
import { type KnownMesh, nodeOf, type Place } from './known-mesh.ts';
import type { RuleVerdict } from './near-miss.ts';
import { findRule, readPolicyName } from './policy-name.ts';
import { type FlagMeaning, flagMeaning } from './response-flags.ts';
import { routeOutcome } from './route-outcome.ts';
import { connectionRefusal, customPlaces, filterPlaces, tokenPlaces } from './security-places.ts';

export type Side = 'inbound' | 'outbound' | 'gateway';

export interface Explanation {
  readonly proxy: string;
  readonly side: Side;
  /** One sentence. */
  readonly outcome: string;
  readonly decidedBy: Decider | undefined;
  /** Others that may have had a part. */
  readonly related: readonly Decider[];
  readonly nearest: RuleVerdict | undefined;
  readonly flags: readonly FlagMeaning[];
  readonly hint: string;
  readonly assumptions: readonly string[];
  /** The proxy passed on what somebody behind it answered. */
  readonly passedOn: boolean;
}

/** What is found out; the rest follows from the log. */
export type Finding = Partial<Pick<Explanation, 'decidedBy' | 'related' | 'nearest' | 'assumptions' | 'passedOn'>> &
  Pick<Explanation, 'outcome' | 'hint'>;

export const explainRequest = (mesh: KnownMesh, logged: LoggedRequest, nowS: number): Explanation => {
  const workload = mesh.instances.find((i) => `${i.name}.${i.namespace}` === logged.proxy);
  const side = sideOf(mesh, logged, workload);
  const flags = logged.flags.flatMap((f) => flagMeaning(f) ?? []);
  const found =
    (workload && security(mesh, logged, workload, nowS)) ?? routeOutcome({ mesh, logged, node: workload && nodeOf(mesh, workload), side });
  return {
    proxy: logged.proxy,
    side,
    decidedBy: undefined,
    related: [],
    nearest: undefined,
    assumptions: [],
    passedOn: false,
    ...found,
    flags,
  };
};

const sideOf = (mesh: KnownMesh, { cluster, local }: LoggedRequest, workload: Instance | undefined): Side => {
  if (workload !== undefined && nodeOf(mesh, workload).kind === 'router') return 'gateway';
  if (cluster.startsWith('inbound') || cluster === 'InboundPassthroughCluster') return 'inbound';
  if (cluster !== '') return 'outbound';
  return workload !== undefined && hostOf(local) === workload.address ? 'inbound' : 'outbound';
};

const ADDRESS = /^\[?(.*?)\]?:(\d+)$/;
const hostOf = (address: string): string => ADDRESS.exec(address)?.[1] ?? address;
const portOf = (address: string): number => Number(ADDRESS.exec(address)?.[2] ?? 0);

const RBAC = /rbac_access_denied_matched_policy\[(.*)\]$/;
const JWT = /jwt_authn_access_denied\{(.*)\}/;

/** What policies refused; undefined when none did. */
const security = (mesh: KnownMesh, logged: LoggedRequest, workload: Instance, nowS: number): Finding | undefined => {
  const { details, termination, flags } = logged;
  const policy = RBAC.exec(details)?.[1] ?? RBAC.exec(termination)?.[1];
  if (policy !== undefined) return policy === 'none' ? unmatched(mesh, logged, workload, nowS) : matched(mesh, policy);
  const token = JWT.exec(details)?.[1];
  if (token !== undefined) return tokenRefused(mesh, workload, token.replaceAll('_', ' '));
  if (details.startsWith('ext_authz') || flags.includes('UAEX')) return authorizerRefused(mesh, logged, workload, nowS);
  if (details === 'filter_chain_not_found' || termination === 'filter_chain_not_found') return chainMissing(mesh, logged, workload);
  const limited = /^(local_rate_limited|request_rate_limited|rate_limiter_error)$/.test(details) || flags.includes('RL');
  return limited ? rateLimited(mesh, workload, details) : undefined;
};

const matched = (mesh: KnownMesh, name: string): Finding => {
  const rule = findRule(mesh, name);
  const read = readPolicyName(name);
  const broken = read?.broken === true;
  if (rule === undefined) {
    const outcome =
      read === undefined
        ? `refused by ${name}, which no AuthorizationPolicy made`
        : `refused by rule ${read.rule} of AuthorizationPolicy ${read.namespace}/${read.name}, which is gone`;
    return { outcome, hint: 'an EnvoyFilter brought it, or it was deleted since: skein audit show --kind AuthorizationPolicy' };
  }
  return {
    outcome: broken ? 'a CUSTOM rule matched, and its external authorizer cannot be asked' : `a ${rule.action} rule matched`,
    decidedBy: rule,
    hint: broken
      ? 'name an extension provider of the mesh settings whose service is in the mesh'
      : 'narrow the rule, or except the caller from it',
  };
};

/** No ALLOW rule took it: which came nearest, with what the log tells of the request. */
const unmatched = (mesh: KnownMesh, logged: LoggedRequest, workload: Instance, nowS: number): Finding => {
  const { query, assumptions } = queryOf(mesh, logged, workload);
  const checked = checkAuthz(mesh, query, nowS);
  const hint = 'add the caller to the nearest rule, or a rule of its own: skein authz check tells whether it helps';
  if (!checked.ok) return { outcome: `no ALLOW rule matched; ${checked.error}`, hint, assumptions };
  const answer: AuthzAnswer = checked.value;
  if (answer.verdict !== 'denied') {
    return {
      outcome: 'no ALLOW rule matched; with what the log tells, the configuration of now lets the request in',
      hint: 'the configuration was changed since, or what decided is not in the log: a token, a header, the identity',
      ...(answer.decidedBy === undefined ? {} : { related: [answer.decidedBy] }),
      assumptions,
    };
  }
  return {
    outcome: answer.reason,
    decidedBy: answer.decidedBy,
    related: answer.considered,
    nearest: answer.nearest,
    hint,
    assumptions: [...assumptions, ...answer.assumptions.filter((a) => !/^(host|path|method) /.test(a))],
  };
};

const queryOf = (mesh: KnownMesh, logged: LoggedRequest, workload: Instance) => {
  const { caller, assumption } = callerOf(mesh, logged);
  const tcp = logged.method === '';
  const query = {
    ...caller,
    ip: hostOf(logged.remote),
    to: `${workload.name}.${workload.namespace}:${portOf(logged.local)}`,
    ...(logged.sni === '' ? {} : { sni: logged.sni }),
    ...(tcp ? { tcp } : { method: logged.method, path: logged.path, host: logged.authority }),
    headers: {
      ...(logged.forwardedFor === '' ? {} : { 'x-forwarded-for': logged.forwardedFor }),
      ...(logged.userAgent === '' ? {} : { 'user-agent': logged.userAgent }),
    },
  };
  const headers = 'headers and tokens are not in the log: rules that ask for them are taken as not met';
  return { query, assumptions: [...assumption, ...(tcp ? [] : [headers])] };
};

type Caller = { readonly plaintext: true } | { readonly from: string; readonly plaintext?: true } | { readonly principal: string };

/** By its identity where that is known, else by its address. */
const callerOf = (
  mesh: KnownMesh,
  { remote, sni, principal }: LoggedRequest,
): { readonly caller: Caller; readonly assumption: readonly string[] } => {
  if (principal !== undefined && principal !== '') return { caller: { principal }, assumption: [] };
  const address = hostOf(remote);
  const found = mesh.instances.find((i) => i.address === address);
  if (found === undefined) {
    const assumption = [`nobody of the mesh has the address ${address}: it is taken for a caller without an identity`];
    return { caller: { plaintext: true }, assumption };
  }
  const from = `${found.name}.${found.namespace}`;
  return found.meshed && /^outbound_/.test(sni)
    ? { caller: { from }, assumption: [`the caller at ${address} is ${from}, whose identity is not in the log`] }
    : { caller: { from, plaintext: true }, assumption: [`${from} called in plain text`] };
};

const tokenRefused = (mesh: KnownMesh, workload: Instance, words: string): Finding => {
  const all = tokenPlaces(mesh, nodeOf(mesh, workload), '');
  const asking = words.startsWith('Audiences') ? tokenPlaces(mesh, nodeOf(mesh, workload), '', true) : all;
  const [first, ...others] = asking.length > 0 ? asking : all;
  return {
    outcome: `the token was refused: ${words}`,
    decidedBy: first,
    related: others,
    hint: /issuer/.test(words)
      ? 'no jwtRule has the issuer of the token'
      : 'compare the token with the jwtRule: issuer, audiences, keys, times',
    assumptions: others.length === 0 ? [] : ['the issuer of the token is not in the log: any of these rules may have refused it'],
  };
};

const authorizerRefused = (mesh: KnownMesh, logged: LoggedRequest, workload: Instance, nowS: number): Finding => {
  const { details } = logged;
  const policies = customPlaces(mesh, nodeOf(mesh, workload));
  const asked = checkAuthz(mesh, queryOf(mesh, logged, workload).query, nowS);
  // The rule that had it asked, where the log tells enough of the request.
  const rule = asked.ok && asked.value.verdict === 'external' ? asked.value.decidedBy : undefined;
  const first = rule ?? policies[0];
  const others = policies.filter((p) => p.name !== first?.name || p.namespace !== first.namespace);
  const failed = details === 'ext_authz_error' || details === 'ext_authz_invalid';
  return {
    outcome: failed
      ? 'the external authorizer could not be asked, or answered what cannot be used'
      : 'the external authorizer refused the request',
    decidedBy: first && { ...first, action: 'CUSTOM' },
    related: others,
    hint: failed ? 'look at the service of the extension provider' : 'the reason is in the log of the authorizer',
  };
};

const chainMissing = (mesh: KnownMesh, logged: LoggedRequest, workload: Instance): Finding => {
  const by = connectionRefusal(mesh, nodeOf(mesh, workload), portOf(logged.local));
  return {
    outcome: by === undefined ? 'no filter chain took the connection' : 'the port takes mutual TLS only, and the caller used none',
    decidedBy: by,
    hint:
      by === undefined
        ? 'look at the chains: skein proxy-config listeners'
        : 'give the caller a sidecar, or set the port to PERMISSIVE until it has one',
  };
};

const rateLimited = (mesh: KnownMesh, workload: Instance, details: string): Finding => {
  const [first, ...others]: readonly Place[] = filterPlaces(mesh, nodeOf(mesh, workload), /rate_?limit/i);
  const failed = details === 'rate_limiter_error';
  return {
    outcome: failed ? 'the rate-limit server could not be asked' : 'a rate limit refused the request',
    decidedBy: first,
    related: others,
    hint: failed ? 'look at the rate-limit server: its address, its log' : 'raise the limit, or let the caller back off',
  };
};
