// Decisions about requests as people read them on a terminal.
import type { AuthzAnswer, Decider } from '../explain/authz-check.ts';
import type { Place } from '../explain/known-mesh.ts';
import type { AttributeVerdict, RuleVerdict } from '../explain/near-miss.ts';

const WORDS = { allowed: 'ALLOWED', denied: 'DENIED', external: 'ASKS AN EXTERNAL AUTHORIZER' } as const;

export const explained = (answer: AuthzAnswer): string => {
  const { source, destination: to } = answer;
  const who = source.principal === '' ? `${source.ip}, plain text` : `${source.principal} (${source.ip})`;
  return lines([
    `${WORDS[answer.verdict]}: ${answer.reason}`,
    `  from        ${who}`,
    `  to          ${to.workload}.${to.namespace}, port ${to.port} (${to.reads === 'http' ? 'HTTP' : 'TCP'})`,
    `  the client  ${answer.verdict === 'denied' ? 'sees ' : 'gets '}${answer.answer}`,
    // Nobody decided where nothing matched: the nearest rule follows.
    ...(answer.decidedBy === undefined || answer.nearest !== undefined ? [] : [`  decided by  ${decider(answer.decidedBy)}`]),
    ...considered(answer),
    ...(answer.nearest === undefined ? [] : nearest(answer.nearest)),
    ...assumptions(answer.assumptions),
  ]);
};

export const lines = (list: readonly string[]): string => `${list.join('\n')}\n`;

export const place = ({ kind, namespace, name, path, file, line }: Place): string =>
  `${kind} ${namespace}/${name}${path === '' ? '' : ` ${path}`}  ${file}:${line}`;

export const decider = (by: Decider): string => (by.action === undefined ? place(by) : `${by.action} ${place(by)}`);

const considered = ({ considered: list, nearest: near }: AuthzAnswer): readonly string[] =>
  list.length < 2 && near !== undefined ? [] : list.map((by) => `  applies     ${decider(by)}`);

export const nearest = (near: RuleVerdict): readonly string[] => [
  `  nearest     ${decider(near.rule)}`,
  ...near.missed.map((m) => `    missed    line ${m.line}: ${attribute(m)}`),
  ...near.met.map((m) => `    met       line ${m.line}: ${attribute(m)}`),
];

const attribute = ({ path, wanted, excluded, got }: AttributeVerdict): string =>
  `${path.replace(/^spec\.rules\[\d+\]\./, '')} ${excluded ? 'is none of' : 'is'} ${wanted.join(', ')}; the request has ${got ?? 'none'}`;

export const assumptions = (list: readonly string[]): readonly string[] =>
  list.length === 0 ? [] : ['  assumed', ...list.map((text) => `    - ${text}`)];
