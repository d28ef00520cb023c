// What the api room reads at most. A text beyond a limit is refused with a located problem, never cut.

/** Of one file of documents, on disk or from a pipe: a thousand objects of a kilobyte, and some. */
export const FILE_BYTES_MAX = 4 * 1024 * 1024;
/** Of one text, UTF-16 units: 40 objects of the largest size Kubernetes stores (1.5 MiB), far above any hand-kept folder. */
export const FILE_CHARACTERS_MAX = 64 * 1024 * 1024;
/** Nodes of one document after aliases are followed: bounds what a "billion laughs" text can cost. */
export const DOCUMENT_NODES_MAX = 250_000;
/** Nesting of one document: Istio's deepest kind needs 14; the rest is for free-form values. */
export const DOCUMENT_DEPTH_MAX = 64;
/** Aliases followed in one document. */
export const ALIASES_MAX = 1_000;
/** Syntax problems told per document: after the first, most are echoes. */
export const SYNTAX_PROBLEMS_MAX = 3;
/** RE2 text, as Istio: Envoy limits the program, whose size is never below the text's. */
export const REGEX_CHARACTERS_MAX = 1024;
/** Of one message: a value is quoted, never a whole file. */
export const MESSAGE_CHARACTERS_MAX = 400;
