// What a request must have before it is routed: a host, and a path that can be read in one way. Pure.

import { normalizedPath, type PathDecision } from '../../plan/path.ts';
import type { HcmPlan } from './hcm-plan.ts';
import { type LocalReply, PATH_REFUSED } from './local-reply.ts';

const NO_HOST: LocalReply = { status: 400, body: '', details: 'missing_host_header', flag: undefined };
const NO_PATH: LocalReply = { status: 404, body: '', details: 'absolute_path_rejected', flag: undefined };

/** The path to route by; where the client is to ask for another one; or what it is answered. */
export const admittedPath = (
  plan: HcmPlan,
  authority: string,
  path: string,
): string | LocalReply | Extract<PathDecision, { kind: 'redirect' }> => {
  if (authority === '') return NO_HOST;
  if (path === '') return path;
  if (!path.startsWith('/')) return NO_PATH;
  const decision = normalizedPath(plan.pathPolicy, path);
  return typeof decision !== 'string' && decision.kind === 'reject' ? PATH_REFUSED : decision;
};
