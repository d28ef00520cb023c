// Why a connection could not be made, in the words Envoy's logs use (its TLS library's, with its numbers), so that what people search for
// is found. Built from the runtime's error alone; says nothing of keys.

const ERRNO_TEXT: { readonly [code: string]: string } = {
  ECONNREFUSED: 'Connection refused',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ETIMEDOUT: 'Connection timed out',
  ECONNRESET: 'Connection reset by peer',
  EADDRNOTAVAIL: 'Cannot assign requested address',
};

/** What verification calls each fault of a chain. */
const CHAIN_FAULTS: { readonly [code: string]: string } = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to get local issuer certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unable to get local issuer certificate',
  UNABLE_TO_GET_ISSUER_CERT: 'unable to get issuer certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'self signed certificate in certificate chain',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self signed certificate',
  CERT_HAS_EXPIRED: 'certificate has expired',
  CERT_NOT_YET_VALID: 'certificate is not yet valid',
  CERT_REVOKED: 'certificate revoked',
  CERT_SIGNATURE_FAILURE: 'certificate signature failure',
  CERT_CHAIN_TOO_LONG: 'certificate chain too long',
  INVALID_PURPOSE: 'unsupported certificate purpose',
  INVALID_CA: 'invalid CA certificate',
  PATH_LENGTH_EXCEEDED: 'path length constraint exceeded',
};

/** What the runtime calls the faults that it has no name for; its message says which. */
const UNNAMED_FAULT = 'UNSPECIFIED';

/** Reasons by number, as BoringSSL counts them; a peer's alerts begin at 1000. */
const SSL_LIBRARY = 0x10000000;
const CERTIFICATE_VERIFY_FAILED = 125;
const REASONS: { readonly [reason: string]: number } = {
  CERTIFICATE_VERIFY_FAILED,
  HTTP_REQUEST: 155,
  UNSUPPORTED_PROTOCOL: 240,
  WRONG_VERSION_NUMBER: 247,
  SSLV3_ALERT_UNEXPECTED_MESSAGE: 1010,
  SSLV3_ALERT_HANDSHAKE_FAILURE: 1040,
  SSLV3_ALERT_BAD_CERTIFICATE: 1042,
  SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: 1043,
  SSLV3_ALERT_CERTIFICATE_REVOKED: 1044,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: 1045,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: 1046,
  SSLV3_ALERT_ILLEGAL_PARAMETER: 1047,
  TLSV1_ALERT_UNKNOWN_CA: 1048,
  TLSV1_ALERT_ACCESS_DENIED: 1049,
  TLSV1_ALERT_DECODE_ERROR: 1050,
  TLSV1_ALERT_DECRYPT_ERROR: 1051,
  TLSV1_ALERT_PROTOCOL_VERSION: 1070,
  TLSV1_ALERT_INSUFFICIENT_SECURITY: 1071,
  TLSV1_ALERT_INTERNAL_ERROR: 1080,
  TLSV1_ALERT_UNRECOGNIZED_NAME: 1112,
  TLSV1_ALERT_UNKNOWN_PSK_IDENTITY: 1115,
  TLSV1_ALERT_CERTIFICATE_REQUIRED: 1116,
  TLSV1_ALERT_NO_APPLICATION_PROTOCOL: 1120,
};

/** What a SPIFFE validator says of a certificate before it looks at its chain. */
const SPIFFE_FAULTS: ReadonlySet<string> = new Set(['cert precheck', 'no trust bundle store']);

/** A certificate that is none of those named by hash. */
export const HASH_MISMATCH = 'certificate hash mismatch';

/** A certificate whose names match no matcher, or not the wanted name; `names` are the certificate's. */
export const nameMismatch = (names: readonly string[]): Error => new Error(`SAN matcher, certificate SANs are [${names.join(', ')}]`);

interface SystemError extends Error {
  readonly code?: string;
  readonly syscall?: string;
}

/** A handshake that a peer's certificate or greeting ended: what is counted, and what is logged. */
export interface TlsFault {
  readonly kind: 'connection' | 'no certificate' | 'chain' | 'names' | 'hash';
  readonly reason: string;
}

/** As BoringSSL tells it: number in hexadecimal, then the reason. */
const BORING = /error:([0-9a-f]{8}):SSL routines:OPENSSL_internal:(\w+)/i;

/** Of a server's handshake. */
export const handshakeFault = (error: SystemError): TlsFault => {
  const { code = '', message } = error;
  if (CHAIN_FAULTS[code] !== undefined) return { kind: 'chain', reason: transportReason(error, 'tls') };
  if (code === UNNAMED_FAULT) return chainFault(message);
  if (message.startsWith('SAN matcher')) return { kind: 'names', reason: verifyFailed(message) };
  if (message === HASH_MISMATCH) return HASH_FAULT;
  if (SPIFFE_FAULTS.has(message)) return spiffeFault(message);
  if (/peer.did.not.return.a.certificate/i.test(message)) return NO_CERTIFICATE;
  const [, number = '', reason = ''] = BORING.exec(message) ?? [];
  const known = number === '' ? transportReason(error, 'tls') : sslFault(Number.parseInt(number, 16) - SSL_LIBRARY, reason);
  return { kind: 'connection', reason: known };
};

/** As verification names it (`CERT_HAS_EXPIRED`). */
export const chainFault = (code: string): TlsFault => ({
  kind: 'chain',
  reason: verifyFailed(`X509_verify_cert: certificate verification error at depth 0: ${CHAIN_FAULTS[code] ?? code}`),
});

/** As a SPIFFE validator says it, or as verification names it. */
export const spiffeFault = (why: string): TlsFault =>
  SPIFFE_FAULTS.has(why) ? { kind: 'chain', reason: verifyFailed(why) } : chainFault(why);

export const namesFault = (names: readonly string[]): TlsFault => ({ kind: 'names', reason: verifyFailed(nameMismatch(names).message) });

/** '' when the transport does not say. */
export const transportReason = (error: SystemError, transport: 'raw' | 'tls'): string => {
  const code = error.code ?? '';
  const errno = ERRNO_TEXT[code];
  if (transport === 'raw') return errno === undefined ? error.message : `delayed connect error: ${errno}`;
  // Both runtimes call an end inside the handshake a reset, but name no system call.
  if (code === 'ECONNRESET')
    return error.syscall === undefined ? '' : tlsError('33554536:system library:OPENSSL_internal', ERRNO_TEXT[code] ?? '');
  if (errno !== undefined) return `delayed connect error: ${errno}`;
  if (error.message === 'connection closed') return '';
  if (CHAIN_FAULTS[code] !== undefined) return chainFault(code).reason;
  if (error.message.startsWith('SAN matcher') || error.message === HASH_MISMATCH || SPIFFE_FAULTS.has(error.message))
    return verifyFailed(error.message);
  const reason = code.startsWith('ERR_SSL_') ? code.slice(8).replace('SSL/TLS_ALERT_', 'SSLV3_ALERT_') : '';
  const number = REASONS[reason] ?? REASONS[reason.replace('SSLV3_', 'TLSV1_')] ?? REASONS[reason.replace('TLSV1_', 'SSLV3_')];
  if (number !== undefined) return sslFault(number, reason);
  // What else the runtime says may have addresses of its memory and files of its source in it.
  if (code.startsWith('ERR_SSL_') && !error.message.includes('OPENSSL_internal')) return tlsError(code.slice(8), '');
  return `TLS_error:|${error.message.replace(/[\r\n]+/g, ' ').trim()}:TLS_error_end`;
};

const tlsError = (where: string, what: string): string => `TLS_error:|${where}:${what}:TLS_error_end`;
const sslFault = (number: number, what: string): string => tlsError(`${SSL_LIBRARY + number}:SSL routines:OPENSSL_internal`, what);
const verifyFailed = (why: string): string => sslFault(CERTIFICATE_VERIFY_FAILED, `CERTIFICATE_VERIFY_FAILED:verify cert failed: ${why}`);

export const NO_CERTIFICATE: TlsFault = {
  kind: 'no certificate',
  reason: sslFault(192, 'PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate'),
};
export const HASH_FAULT: TlsFault = { kind: 'hash', reason: verifyFailed(HASH_MISMATCH) };
