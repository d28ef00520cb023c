// Rows of the smuggling table that stock Envoy lets pass and we refuse, each rule with its reason. Every rule must match a row that
// differs, so that the list cannot outlive what it explains.

export interface Stricter {
  readonly rows: RegExp;
  readonly reason: string;
}

export const STRICTER: readonly Stricter[] = [
  { rows: /^Content-Length "0+3"/, reason: 'leading zeros, which some readers take for octal, are forwarded without them' },
  {
    rows: /^Content-Length 9223372036854775808|^Content-Length of 20 digits/,
    reason: 'numbers that readers of 53, 63 or 64 bits take for different ones',
  },
  { rows: /^Transfer-Encoding "", then "chunked"/, reason: 'two lines: some readers look at the first only' },
  {
    rows: /\\r\\n[ \\]|\\r\\n\\t/,
    reason: 'a folded line is one line or two, depending on the reader (RFC 9112 5.2 lets a server refuse it)',
  },
  { rows: /\\n|an LF before/, reason: 'a bare LF, or one with other bytes before it, ends a line for some readers only' },
  { rows: /\\r(?!\\n)|a CR before/, reason: 'a bare CR is a line end, a space or an error, depending on the reader (RFC 9112 2.2)' },
  {
    rows: /in a chunk extension|^chunk size "3( 3| |\\t)"|^chunk line|^many chunk extensions|^chunk size of 20/,
    reason: 'no client sends it; readers disagree where the size ends',
  },
  {
    rows: /^a chunk (longer|shorter) than|^a chunk with a space/,
    reason: 'the bytes behind the chunk are skipped by some readers and data for others',
  },
  {
    rows: /^trailer (content-length|transfer-encoding|host)/i,
    reason: 'a backend that merges trailers into the head would frame or route by it',
  },
  { rows: /^too many trailers|^twenty empty lines/, reason: 'a bound of ours: no honest client comes near it' },
  { rows: /^request line/, reason: 'tabs or doubled spaces in the request line: readers disagree what the target is' },
  {
    rows: /^absolute form.*(@|no Host|two Hosts|with a user)|^Host "u@a"/,
    reason: 'user information or a missing, doubled or invalid Host beside the target: which one is believed differs',
  },
  {
    rows: /Host: (a|b)?( and|$)|^Host: and|two Hosts|an empty Host|a Host of spaces/i,
    reason: 'no host, or two: RFC 9112 3.2 asks for a refusal',
  },
  { rows: /^HTTP\/1\.0 with chunks|^HTTP\/0\.9/, reason: 'framing or a request line that the version does not have (RFC 9112 6.1)' },
  { rows: /^a body without framing/, reason: 'a tab where the request line has a space' },
];
