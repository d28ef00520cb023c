// Why a peer's HTTP/1 bytes are refused: their fault, so a value. Codes are Envoy's response code details.

export interface Http1Problem {
  /** What to answer a client: 400, 413, 426, 431, 501, 505. For a response: the proxy answers 502 with flag UPE. */
  readonly status: number;
  /** Envoy's detail, e.g. `http1.codec_error`. */
  readonly code: string;
  readonly message: string;
}

export const problem = (status: number, code: string, message: string): Http1Problem => ({ status, code, message });

export const codecError = (message: string): Http1Problem => problem(400, 'http1.codec_error', message);
export const invalidCharacters = (message: string): Http1Problem => problem(400, 'http1.invalid_characters', message);
export const HEAD_TOO_LARGE = problem(431, 'http1.headers_too_large', 'header section larger than the limit');
export const TOO_MANY_HEADERS = problem(431, 'http1.too_many_headers', 'more header lines than the limit');
