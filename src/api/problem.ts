// What is wrong with a document: one value for parsing, validation, analysis and the admin API.

export type Severity = 'error' | 'warning';

export interface Problem {
  /** Stable, upper snake case, documented; see `problemCodes`. */
  readonly code: ProblemCode;
  readonly severity: Severity;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** Path inside the document as written in messages: `spec.http[0].route`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
}

/** Every code the api room gives, with what it means. Other rooms bring codes of their own. */
export const problemCodes = {
  YAML_SYNTAX: 'the text is not YAML or JSON, or is only half written',
  YAML_DUPLICATE_KEY: 'a mapping names one key twice',
  YAML_LIMIT: 'the text is larger, deeper or aliases more than is read',
  NOT_AN_OBJECT: 'a document is not a resource: no mapping, no apiVersion, kind or metadata.name',
  KIND_UNKNOWN: 'no such kind in this API group',
  VERSION_UNKNOWN: 'the kind is not served in this version',
  KIND_NOT_SUPPORTED: 'a kind of Istio, Gateway API or Kubernetes that this version does not read',
  FIELD_UNKNOWN: 'no such field in the kind',
  FIELD_TYPE: 'a value of the wrong type',
  FIELD_LIMIT: "a value outside the range or pattern that the kind's schema declares",
  FIELD_SIZE: "a text, list or mapping shorter or longer than the kind's schema declares",
  SCHEMA_RULE: "fields that the kind's schema does not let stand together",
  FIELD_FORM: 'a way of writing a value that Istio reads from files and Kubernetes does not take',
  FIELD_REQUIRED: 'a required field is missing',
  FIELD_NOT_SUPPORTED: "a field of Istio's kind that this version does not implement",
  FIELD_NOT_YET_EFFECTIVE: 'a field that is accepted and has no effect yet',
  NOT_YET_ENFORCED: 'a policy that this version would not enforce',
  INVALID: 'a value that Istio refuses',
  PROXY_REFUSES: 'a value that Istio accepts and for which Envoy refuses all of the listener or routes it stands in',
  DISCOURAGED: 'a value that Istio accepts with a warning',
  PORT_PROTOCOL_UNKNOWN: 'a Service port whose protocol has to be found out from the first bytes',
  NAME_INVALID: 'metadata that Kubernetes refuses',
  DUPLICATE_OBJECT: 'one object written twice',
} as const;

export type ProblemCode = keyof typeof problemCodes | (string & {});

/** `file:line:column: error CODE path: message (hint)`, one line, as terminals and editors link it. */
export const formatProblem = (p: Problem): string => {
  const path = p.path === '' ? '' : ` ${p.path}:`;
  const hint = p.hint === undefined ? '' : ` (${p.hint})`;
  return `${p.file}:${p.line}:${p.column}: ${p.severity} ${p.code}${path} ${p.message}${hint}`;
};

export const hasErrors = (problems: readonly Problem[]): boolean => problems.some((p) => p.severity === 'error');
