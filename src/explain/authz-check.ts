// May this source send this request? Walks through the filters that the destination's proxy is given, in their order, each decided as the
// data plane decides it, and says which object decided, in which file and line, and which rule came nearest. Pure: the time is given.

import { err, ok, type Result } from '../base/result.ts';
import { isDryRun } from '../mesh/authorization.ts';
import { compilePolicies, NO_POLICY } from '../plan/authz/policies.ts';
import { PlanError } from '../plan/plan-error.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import type { HttpRbac_RBAC, JwtAuthentication, Rbac_RBAC } from '../xds/gen/types.ts';
import { type AskedEnds, findEnds } from './asked-ends.ts';
import { AskedRequest, type AuthzQuery, type RequestFacts } from './asked-request.ts';
import { type DecidingFilter, type InboundChain, inboundChain } from './inbound-chain.ts';
import { type KnownMesh, nodeOf, type Place, placeOf } from './known-mesh.ts';
import { nearestRule, type RuleSetting, type RuleVerdict } from './near-miss.ts';
import { findRule, readPolicyName, ruleOf } from './policy-name.ts';
import { connectionRefusal, tokenPlaces } from './security-places.ts';
import { bringToken, checkToken } from './token-check.ts';

/** `external`: allowed if the authorizer that is asked agrees. */
export type Verdict = 'allowed' | 'denied' | 'external';

export interface Decider extends Place {
  /** Of an AuthorizationPolicy. */
  readonly action?: string;
  readonly rule?: number;
}

export interface AuthzAnswer {
  readonly verdict: Verdict;
  /** One sentence. */
  readonly reason: string;
  /** What the client sees. */
  readonly answer: string;
  readonly decidedBy: Decider | undefined;
  /** Policies that had a say and did not match. */
  readonly considered: readonly Decider[];
  readonly nearest: RuleVerdict | undefined;
  readonly source: { readonly principal: string; readonly ip: string };
  readonly destination: { readonly workload: string; readonly namespace: string; readonly port: number; readonly reads: 'http' | 'tcp' };
  readonly assumptions: readonly string[];
}

type Outcome = Omit<AuthzAnswer, 'source' | 'destination' | 'assumptions'>;

const DENIED = 'HTTP 403 "RBAC: access denied"';
const CLOSED = 'the connection is closed';
const RBAC = /\.rbac\.v3\.RBAC$/;
const EXT_AUTHZ = /\.ext_authz\.v3\.ExtAuthz$/;
const JWT_AUTHN = /\.jwt_authn\.v3\.JwtAuthentication$/;

/** The error says what in the query cannot be found. */
export const checkAuthz = (mesh: KnownMesh, query: AuthzQuery, nowS: number): Result<AuthzAnswer, string> => {
  const ends = findEnds(mesh, query);
  if (!ends.ok) return ends;
  try {
    return ok(new Walk(mesh, ends.value, query, nowS).answer());
  } catch (error) {
    if (error instanceof PlanError) return err(`the configuration of ${ends.value.workload.name} cannot be compiled: ${error.message}`);
    throw error;
  }
};

class Walk {
  readonly #mesh: KnownMesh;
  readonly #ends: AskedEnds;
  readonly #query: AuthzQuery;
  readonly #nowS: number;
  readonly #node: ProxyNode;
  readonly #assumptions: string[];

  constructor(mesh: KnownMesh, ends: AskedEnds, query: AuthzQuery, nowS: number) {
    this.#mesh = mesh;
    this.#ends = ends;
    this.#query = query;
    this.#nowS = nowS;
    this.#node = nodeOf(mesh, ends.workload);
    this.#assumptions = [...ends.assumptions];
  }

  answer(): AuthzAnswer {
    const { workload, facts: given } = this.#ends;
    let facts = given;
    let chain = workload.meshed ? inboundChain(this.#mesh, this.#node, facts) : undefined;
    if (chain?.kind === 'tcp' && !facts.tcp) {
      this.#assumptions.push(`port ${facts.destinationPort} is not read as HTTP: only what is known of a connection counts`);
      facts = { ...facts, tcp: true };
      chain = inboundChain(this.#mesh, this.#node, facts);
    }
    const outcome = workload.meshed ? this.#decide(chain, facts) : unmeshed(workload.name);
    return {
      ...outcome,
      source: { principal: facts.spiffe?.replace('spiffe://', '') ?? '', ip: facts.sourceIp },
      destination: {
        workload: workload.workload || workload.name,
        namespace: workload.namespace,
        port: facts.destinationPort,
        reads: chain?.kind ?? (facts.tcp ? 'tcp' : 'http'),
      },
      assumptions: this.#assumptions,
    };
  }

  #decide(chain: InboundChain | undefined, facts: RequestFacts): Outcome {
    if (chain === undefined) return this.#refused(facts);
    const path = chain.path(facts.path);
    if (path === undefined) return denial('the path cannot be normalised', 'HTTP 400', undefined);
    if (path !== facts.path) this.#assumptions.push(`the path is normalised to ${path}`);
    const asked = new AskedRequest(facts, path, chain.remoteIp(facts));
    let last: Outcome | undefined;
    let external: Outcome | undefined;
    for (const [at, filter] of chain.filters.entries()) {
      if (JWT_AUTHN.test(filter.type)) {
        const denied = this.#token(filter, asked);
        if (denied !== undefined) return denied;
      } else if (RBAC.test(filter.type)) {
        const next = chain.filters[at + 1];
        const outcome = this.#rbac(filter, next !== undefined && EXT_AUTHZ.test(next.type) ? next : undefined, asked, facts.tcp);
        if (outcome?.verdict === 'denied') return outcome;
        if (outcome?.verdict === 'external') external = outcome;
        else last = outcome ?? last;
      }
    }
    return external ?? last ?? allowed('no AuthorizationPolicy with action ALLOW governs the workload, and none denies', undefined);
  }

  #refused(facts: RequestFacts): Outcome {
    const by = connectionRefusal(this.#mesh, this.#node, facts.destinationPort);
    if (facts.spiffe === undefined && by !== undefined)
      return denial('the port takes mutual TLS only, and the source has none', 'the connection is reset before any policy is asked', by);
    return denial('no filter chain of the destination takes the connection', CLOSED, undefined);
  }

  #token(filter: DecidingFilter, asked: AskedRequest): Outcome | undefined {
    const config = filter.config as unknown as JwtAuthentication;
    bringToken(config, asked, this.#query);
    const verdict = checkToken(config, asked, this.#query, this.#nowS);
    if (verdict.metadata !== undefined) asked.dynamicMetadata = { ...asked.dynamicMetadata, ...verdict.metadata };
    if (verdict.ok) return undefined;
    const places = tokenPlaces(this.#mesh, this.#node, verdict.issuer);
    return {
      ...denial(`the token is refused: ${verdict.status.text}`, `HTTP ${verdict.code} ${JSON.stringify(verdict.status.text)}`, places[0]),
      considered: places.slice(1),
    };
  }

  #rbac(filter: DecidingFilter, asks: DecidingFilter | undefined, asked: AskedRequest, tcp: boolean): Outcome | undefined {
    const { rules, shadow_rules: shadow } = filter.config as unknown as HttpRbac_RBAC;
    if (asks !== undefined && shadow !== undefined) {
      const match = matched(shadow, asked, tcp);
      if (match === undefined) return undefined;
      const by = findRule(this.#mesh, match);
      const provider = readPolicyName(match)?.provider ?? '';
      const who = provider === '' ? 'the external authorizer' : `the external authorizer ${provider}`;
      return { ...allowed(`${who} is asked: it decides`, by), verdict: 'external', answer: 'what the authorizer says' };
    }
    if (rules === undefined || rules.action === 'LOG') return undefined;
    const match = matched(rules, asked, tcp);
    const denies = rules.action === 'DENY';
    if (denies) return match === undefined ? undefined : this.#deniedBy(match, tcp);
    return match === undefined ? this.#unmatched(asked, tcp) : allowed('an ALLOW rule matches', findRule(this.#mesh, match));
  }

  #deniedBy(match: string, tcp: boolean): Outcome {
    const broken = readPolicyName(match)?.broken === true;
    const reason = broken ? 'a CUSTOM rule matches, and its external authorizer cannot be asked' : 'a DENY rule matches';
    return denial(reason, tcp ? CLOSED : DENIED, findRule(this.#mesh, match));
  }

  /** ALLOW policies govern the workload and none of their rules matches. */
  #unmatched(asked: AskedRequest, tcp: boolean): Outcome {
    const { meshConfig, authorization } = this.#mesh.snapshot;
    const allow = authorization.forWorkload(this.#node).allow.filter((p) => !isDryRun(p));
    const setting: RuleSetting = { asked, tcp, trustDomains: [meshConfig.trustDomain, ...meshConfig.trustDomainAliases] };
    const nearest = nearestRule(allow, setting);
    const considered = allow.map((p) => ({ ...placeOf(p), action: 'ALLOW' }));
    const empty = allow.find((p) => (p.spec.rules ?? []).length === 0);
    const by = nearest?.rule ?? (empty === undefined ? undefined : ruleOf(empty, 0));
    const count = allow.length === 1 ? 'one ALLOW policy governs' : `${allow.length} ALLOW policies govern`;
    const reason =
      nearest === undefined
        ? 'a policy without rules governs the workload: it allows nothing'
        : `no ALLOW rule matches: ${count} the workload`;
    return { ...denial(reason, tcp ? CLOSED : DENIED, by), nearest, considered };
  }
}

const matched = (rules: Rbac_RBAC, asked: AskedRequest, tcp: boolean): string | undefined => {
  const policies = compilePolicies(rules, tcp, 'rules');
  const at = policies.match(asked);
  return at === NO_POLICY ? undefined : policies.names[at];
};

const denial = (reason: string, answer: string, decidedBy: Decider | undefined): Outcome => ({
  verdict: 'denied',
  reason,
  answer,
  decidedBy,
  considered: [],
  nearest: undefined,
});

const allowed = (reason: string, decidedBy: Decider | undefined): Outcome => ({
  ...denial(reason, 'what the application answers', decidedBy),
  verdict: 'allowed',
});

const unmeshed = (name: string): Outcome => allowed(`${name} has no sidecar: no policy is enforced there`, undefined);
