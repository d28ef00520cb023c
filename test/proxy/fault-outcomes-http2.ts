// What clients see of the faults in fault-table-http2.ts (`…`: Envoy's own first words), and what the log says: status, flags, details,
// transport's reason. Stock Envoy 1.40's values.

interface Outcome {
  readonly http1: readonly [seen: string, logged: string];
  readonly http2: readonly [seen: string, logged: string];
}

export const HTTP2_OUTCOMES: { readonly [what: string]: Outcome | undefined } = {};
