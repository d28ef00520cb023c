// What can go wrong between a client, the proxy and an upstream, as data: how the peers misbehave, and what the client gets and the log says, in
// stock Envoy 1.40's words. Rows say which protocol the upstream speaks, so that the same faults can be told of each.
import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import type { createAuthority } from './certificates.ts';

export interface Outcome {
  readonly status: number;
  readonly body: string;
  /** Whether the client has a whole response, or saw it cut; `none`: nothing came. */
  readonly view: 'whole' | 'cut' | 'none';
  readonly logged: { readonly status: number; readonly flags: string; readonly details: string; readonly transport: string };
}

export interface FaultRow {
  readonly what: string;
  readonly upstream: 'http1';
  /** How the upstream answers each piece it reads; `n` counts connections. No function: nobody listens. */
  readonly serve?: (socket: Socket, text: string, n: number) => void;
  /** Instead of serving plain TCP. */
  readonly listen?: 'tls' | 'tls-other' | 'closed' | 'silent' | 'name' | 'nobody';
  readonly cluster?: Partial<Cluster>;
  readonly route?: Partial<Route['route']>;
  /** A request that came and went before, on the same upstream connection. */
  readonly before?: string;
  /** `PATH` stands for the row's own path. Default: a GET. */
  readonly request?: string;
  /** What the client does once it has sent: nothing, end its side, or go away when it has seen bytes. */
  readonly client?: 'waits' | 'ends' | 'leaves';
  readonly expected: Outcome;
  /** Where we differ from Envoy on purpose: what it does, and why we do not. */
  readonly envoy?: Outcome;
  readonly why?: string;
}

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const LONG = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n';
const CHUNKED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
const SOON = 25;
const BEFORE = 'upstream connect error or disconnect/reset before headers. reset reason:';
const RETRIED = 'upstream connect error or disconnect/reset before headers. retried and the latest reset reason:';

const later = (socket: Socket, act: () => void): void => {
  setTimeout(() => {
    if (!socket.destroyed) act();
  }, SOON);
};
const answerThen = (text: string, act: (socket: Socket) => void) => (socket: Socket) => {
  socket.write(text);
  later(socket, () => act(socket));
};
const reset = (socket: Socket): void => {
  socket.resetAndDestroy();
};
const end = (socket: Socket): void => {
  socket.end();
};
const nothing = (): void => {};

const local = (status: number, body: string, flags: string, details: string, transport = ''): Outcome => ({
  status,
  body,
  view: 'whole',
  logged: { status, flags, details, transport },
});
const lost = (kind: string, word: string, flags: string, transport = '', status = 503): Outcome =>
  local(
    status,
    `${BEFORE} ${word}`,
    flags,
    `upstream_reset_before_response_started{${kind}${transport === '' ? '' : `|${transport.replaceAll(' ', '_')}`}}`,
    transport,
  );
const cut = (body: string, flags: string, details: string): Outcome => ({
  status: 200,
  body,
  view: 'cut',
  logged: { status: 200, flags, details, transport: '' },
});
const gone = (status: number, body: string, view: 'cut' | 'none'): Outcome => ({
  status,
  body,
  view,
  logged: { status, flags: 'DC', details: 'downstream_remote_disconnect', transport: '' },
});
const REFUSED = 'delayed_connect_error:_Connection_refused';
const VERIFY = 'TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_';
const connectFailed = (transport: string): Outcome => lost('remote_connection_failure', 'remote connection failure', 'UF', transport);
const NO_HOST = local(503, 'no healthy upstream', 'UH', 'no_healthy_upstream');
const TERMINATION = lost('connection_termination', 'connection termination', 'UC');
const PROTOCOL = lost('protocol_error', 'protocol error', 'UPE', '', 502);
const AFTER = (reason: string) => `upstream_reset_after_response_started{${reason}}`;
const FINE: Outcome = {
  status: 200,
  body: 'ok',
  view: 'whole',
  logged: { status: 200, flags: '', details: 'via_upstream', transport: '' },
};

const h1 = (what: string, expected: Outcome, more: Omit<FaultRow, 'what' | 'upstream' | 'expected'>): FaultRow => ({
  what,
  upstream: 'http1',
  expected,
  ...more,
});
const serve = (what: string, expected: Outcome, act: NonNullable<FaultRow['serve']>, more: Partial<FaultRow> = {}): FaultRow =>
  h1(what, expected, { serve: act, ...more });

const connecting: readonly FaultRow[] = [
  h1('connect refused', connectFailed(REFUSED), { listen: 'closed' }),
  h1(
    'connect refused, tried again',
    local(
      503,
      `${RETRIED} remote connection failure`,
      'URX,UF',
      `upstream_reset_before_response_started{remote_connection_failure|${REFUSED}}`,
      REFUSED,
    ),
    {
      listen: 'closed',
      route: { retry_policy: { retry_on: 'connect-failure', num_retries: 1 } },
    },
  ),
  h1('a handshake nobody answers', lost('connection_timeout', 'connection timeout', 'UF'), {
    listen: 'silent',
    cluster: { connect_timeout: '0.25s' },
  }),
  h1('a name that does not resolve', NO_HOST, { listen: 'name', cluster: { type: 'STRICT_DNS' } }),
  h1('a logical name that does not resolve', NO_HOST, { listen: 'name', cluster: { type: 'LOGICAL_DNS' } }),
  h1('no endpoint', NO_HOST, { listen: 'nobody' }),
  h1(
    'an untrusted certificate',
    connectFailed(
      `${VERIFY}X509_verify_cert:_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_certificate:TLS_error_end`,
    ),
    { listen: 'tls-other' },
  ),
  h1('a certificate for another name', connectFailed(`${VERIFY}SAN_matcher,_certificate_SANs_are_[upstream.test]:TLS_error_end`), {
    listen: 'tls',
    cluster: { name: 'san' },
  }),
  serve(
    'TLS to a plain peer',
    connectFailed('TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end'),
    (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    {
      cluster: { name: 'tls' },
    },
  ),
  serve('TLS to a peer that ends', connectFailed(''), end, { cluster: { name: 'tls' } }),
  serve(
    'TLS to a peer that resets',
    connectFailed('TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end'),
    reset,
    { cluster: { name: 'tls' } },
  ),
  serve('no room for a request', lost('overflow', 'overflow', 'UO'), nothing, {
    cluster: { circuit_breakers: { thresholds: [{ max_requests: 0, max_pending_requests: 0 }] } },
  }),
];

const beforeHeaders: readonly FaultRow[] = [
  serve('reset before headers', TERMINATION, reset),
  serve('end before headers', TERMINATION, end),
  serve('reset inside the head', PROTOCOL, answerThen('HTTP/1.1 200 OK\r\nx: ', reset)),
  serve('end inside the head', PROTOCOL, answerThen('HTTP/1.1 200 OK\r\nx: ', end)),
  serve(
    'end behind 100 Continue',
    local(503, `${BEFORE} connection termination`, 'UC', AFTER('connection_termination')),
    answerThen('HTTP/1.1 100 Continue\r\n\r\n', end),
  ),
  serve(
    'reset behind 100 Continue, not tried again',
    local(503, `${BEFORE} connection termination`, 'UC', AFTER('connection_termination')),
    answerThen('HTTP/1.1 100 Continue\r\n\r\n', reset),
    { route: { retry_policy: { retry_on: 'reset,5xx', num_retries: 2 } } },
  ),
  serve(
    '503 behind 100 Continue, not tried again',
    local(503, 'no', '', 'via_upstream'),
    (s) => s.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno'),
    { route: { retry_policy: { retry_on: '5xx', num_retries: 2 } } },
  ),
  serve(
    'reset before headers, tried again',
    local(503, `${RETRIED} connection termination`, 'URX,UC', 'upstream_reset_before_response_started{connection_termination}'),
    reset,
    {
      route: { retry_policy: { retry_on: 'reset', num_retries: 1 } },
    },
  ),
  serve('a stalled head', local(504, 'upstream request timeout', 'UT', 'response_timeout'), nothing, { route: { timeout: '0.2s' } }),
  serve(
    'half a head, then silence',
    local(504, 'upstream request timeout', 'UT', 'response_timeout'),
    (s) => s.write('HTTP/1.1 200 OK\r\nx: '),
    {
      route: { timeout: '0.2s' },
    },
  ),
  serve('a stalled try', local(504, 'upstream request timeout', 'URX,UT', 'upstream_per_try_timeout'), nothing, {
    route: { timeout: '5s', retry_policy: { retry_on: 'reset', num_retries: 0, per_try_timeout: '0.2s' } },
  }),
  serve('a stream that stays idle', local(504, 'stream timeout', 'SI', 'stream_idle_timeout'), nothing, {
    route: { idle_timeout: '0.2s' },
  }),
  serve('a stream that takes too long', local(504, 'downstream duration timeout', '', 'max_duration_timeout'), nothing, {
    route: { max_stream_duration: { max_stream_duration: '0.2s' } },
  }),
];

const nonsense: readonly FaultRow[] = [
  ...(
    [
      ['garbage', '\0\x01\x02garbage\r\n\r\n'],
      ['another protocol', 'SSH-2.0-OpenSSH_9.9\r\n'],
      ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk'],
      ['length and chunks', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
      ['an unknown coding', 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n'],
      ['a NUL in a value', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: a\0b\r\n\r\nok'],
      ['a name with a space', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx y: a\r\n\r\nok'],
      ['a line without a colon', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nxy\r\n\r\nok'],
      ['204 with a body', 'HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok'],
      ['an oversized head', `HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ${'y'.repeat(90_000)}\r\n\r\nok`],
      ['too many headers', `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n${'x: y\r\n'.repeat(110)}\r\nok`],
    ] as const
  ).map(([what, text]) => serve(`answer: ${what}`, PROTOCOL, (socket) => socket.write(Buffer.from(text, 'latin1')))),
  serve(
    'bad chunk size',
    cut('', 'UPE', AFTER('protocol_error')),
    answerThen(CHUNKED, (s) => s.write('xyz\r\n')),
  ),
  serve(
    'bad chunk in the middle',
    cut('abc', 'UPE', AFTER('protocol_error')),
    answerThen(`${CHUNKED}3\r\nabc\r\n`, (s) => s.write('zz\r\n')),
  ),
];

const afterHeaders: readonly FaultRow[] = [
  serve('reset after headers', cut('', 'UPE', AFTER('protocol_error')), answerThen(LONG, reset)),
  serve('end after headers', cut('', 'UPE', AFTER('protocol_error')), answerThen(LONG, end)),
  serve('reset in the body', cut('hello', 'UPE', AFTER('protocol_error')), answerThen(`${LONG}hello`, reset)),
  serve('end in the body', cut('hello', 'UPE', AFTER('protocol_error')), answerThen(`${LONG}hello`, end)),
  serve('end inside a chunk', cut('he', 'UPE', AFTER('protocol_error')), answerThen(`${CHUNKED}5\r\nhe`, end)),
  serve('end before the last chunk', cut('hello', 'UPE', AFTER('protocol_error')), answerThen(`${CHUNKED}5\r\nhello\r\n`, end)),
  serve('end of a body without length', FINE, answerThen('HTTP/1.1 200 OK\r\n\r\nok', end)),
  serve(
    'reset of a body without length',
    cut('ok', 'UC', AFTER('connection_termination')),
    answerThen('HTTP/1.1 200 OK\r\n\r\nok', reset),
    {
      envoy: FINE,
      why: 'a reset is no end: the client must not take a part for the whole',
    },
  ),
  serve('101 nobody asked for', PROTOCOL, (s) => s.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'), {
    envoy: { status: 101, body: '', view: 'whole', logged: { status: 101, flags: '', details: 'via_upstream', transport: '' } },
    why: 'the client did not ask, so the two would not agree on what follows',
  }),
  serve('an answer of an unknown version', PROTOCOL, (s) => s.end('HTTP/3.0 200 OK\r\ncontent-length: 2\r\n\r\nok'), {
    envoy: FINE,
    why: 'RFC 9112 2.3: the framing of another major version is not known',
  }),
  serve('a stalled body, timeout of the route', cut('hello', 'UT', 'response_timeout'), answerThen(`${LONG}hello`, nothing), {
    route: { timeout: '0.2s' },
  }),
  serve('a stalled body, idle', cut('hello', 'SI', 'stream_idle_timeout'), answerThen(`${LONG}hello`, nothing), {
    route: { idle_timeout: '0.2s' },
  }),
  serve('a stalled body, duration', cut('hello', '', 'max_duration_timeout'), answerThen(`${LONG}hello`, nothing), {
    route: { max_stream_duration: { max_stream_duration: '0.2s' } },
  }),
  serve('more than its length', FINE, (s) => s.write(`${OK}more`)),
  serve('an answer and the end at once', FINE, (s) => s.end(OK)),
];

const peers: readonly FaultRow[] = [
  serve('a client that ends its side and waits', gone(0, '', 'none'), (s) => later(s, () => s.write(OK)), { client: 'ends' }),
  serve('a client that leaves in the response', gone(200, 'hello', 'cut'), (s) => s.write(`${LONG}hello`), { client: 'leaves' }),
  serve('a client that ends in its body', gone(0, '', 'none'), nothing, {
    client: 'ends',
    request: 'POST PATH HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf',
  }),
  serve('an answer before the body has come', FINE, (s) => s.write(OK), {
    request: 'POST PATH HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf',
  }),
  serve(
    'a refusal before the body has come, then the end',
    local(413, 'ok', '', 'via_upstream'),
    (s) => s.end(OK.replace('200 OK', '413 Too Large')),
    {
      request: 'POST PATH HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf',
    },
  ),
  serve(
    'a kept connection that ends under the request',
    TERMINATION,
    (s, text) => void (text.includes('/before') ? s.write(OK) : s.end()),
    { before: '/before' },
  ),
  serve(
    'a kept connection that resets under the request',
    TERMINATION,
    (s, text) => void (text.includes('/before') ? s.write(OK) : reset(s)),
    { before: '/before' },
  ),
  serve('a kept connection that ended before', FINE, (s, text) => void (text.includes('/before') ? answerThen(OK, end)(s) : s.write(OK)), {
    before: '/before',
  }),
  serve('a bad chunk from the client', local(400, 'Bad Request', 'DPE', 'http1.codec_error'), nothing, {
    request: 'POST PATH HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n',
  }),
];

export const FAULTS: readonly FaultRow[] = [...connecting, ...beforeHeaders, ...nonsense, ...afterHeaders, ...peers];

export interface Upstream extends AsyncDisposable {
  readonly port: number;
}

/** The row's upstream on a port of its own. */
export const startUpstream = async (
  row: FaultRow,
  identity: ReturnType<ReturnType<typeof createAuthority>['issue']>,
): Promise<Upstream> => {
  const sockets = new Set<Socket>();
  let n = 0;
  const take = (socket: Socket): void => {
    const mine = n++;
    socket.on('error', () => {});
    socket.on('data', (bytes) => row.serve?.(socket, bytes.toString('latin1'), mine));
    if (row.serve === undefined) socket.resume();
  };
  if (row.listen === 'closed') return { port: await freePort(), [Symbol.asyncDispose]: () => Promise.resolve() };
  const tls = row.listen === 'tls' || row.listen === 'tls-other';
  const server = tls
    ? createTlsServer({ key: identity.key, cert: identity.certificate, allowHalfOpen: true }, take)
    : createServer({ allowHalfOpen: true, noDelay: true }, take);
  server.on('tlsClientError', () => {});
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  const port = await new Promise<number>((done) =>
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      done(typeof address === 'object' && address !== null ? address.port : 0);
    }),
  );
  const close = () =>
    new Promise<void>((done) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => done());
    });
  return { port, [Symbol.asyncDispose]: close };
};
