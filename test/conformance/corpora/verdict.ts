// Two levels of refusal in what the api room says: of the CRD (schema and CEL) and of Istio's webhook, and which codes are neither.

interface Said {
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly path: string;
  readonly message: string;
}

/** What Skein refuses because it has not built it, or for what a proxy would make of it. */
const OWN = new Set(['FIELD_NOT_SUPPORTED', 'FIELD_NOT_YET_EFFECTIVE', 'NOT_YET_ENFORCED', 'PROXY_REFUSES']);
/** Sizes, forms and rules that the schema asks for and the webhook does not look at. */
const SCHEMA_ONLY = new Set(['FIELD_SIZE', 'FIELD_FORM', 'SCHEMA_RULE']);

export const refusedByCrd = (said: readonly Said[]): boolean =>
  said.some((s) => !OWN.has(s.code) && (s.severity === 'error' || s.code === 'FIELD_FORM'));

export const refusedByWebhook = (said: readonly Said[]): boolean =>
  said.some((s) => !OWN.has(s.code) && !SCHEMA_ONLY.has(s.code) && s.severity === 'error');

export const warnedByWebhook = (said: readonly Said[]): boolean =>
  said.some((s) => !OWN.has(s.code) && !SCHEMA_ONLY.has(s.code) && s.severity === 'warning');

export const spoken = (said: readonly Said[]): readonly string[] => said.map((s) => `${s.severity} ${s.code} ${s.path}: ${s.message}`);
