// The rule of an AuthorizationPolicy that a refusal's details name, as audit entries say it: object, number of the rule, file and line.
import { findRule, readPolicyName } from '../../explain/policy-name.ts';
import type { Snapshot } from '../../mesh/snapshot.ts';

export interface DecidingRule {
  /** `namespace/name` */
  readonly policy: string;
  readonly rule: number;
  /** Undefined: the policy is gone. */
  readonly file?: string;
  readonly line?: number;
}

const MATCHED = /rbac_access_denied_matched_policy\[(.*)\]$/;

/** Undefined where no rule of a policy decided: nothing allowed it, or the details are of something else. */
export const decidingRule = (snapshot: Snapshot | undefined, details: string): DecidingRule | undefined => {
  const name = MATCHED.exec(details)?.[1] ?? '';
  const read = readPolicyName(name);
  if (read === undefined) return undefined;
  const found = snapshot === undefined ? undefined : findRule({ snapshot }, name);
  return {
    policy: `${read.namespace}/${read.name}`,
    rule: read.rule,
    ...(found === undefined ? {} : { file: found.file, line: found.line }),
  };
};
