// One line of a proxy's access log, in Istio's two formats (JSON, and text in its default order), as a logged request. Lines of other formats
// are read as far as they hold the same fields by name.

export interface LoggedRequest {
  /** `payment-v1-0.production`: whose proxy wrote it. */
  readonly proxy: string;
  readonly time: string;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly code: number;
  readonly flags: readonly string[];
  readonly details: string;
  readonly termination: string;
  readonly transportFailure: string;
  readonly requestId: string;
  readonly route: string;
  readonly cluster: string;
  readonly upstream: string;
  readonly local: string;
  readonly remote: string;
  readonly sni: string;
  readonly forwardedFor: string;
  readonly userAgent: string;
  readonly durationMs: number;
  /** The caller's identity, from elsewhere: the log does not tell it. */
  readonly principal?: string;
}

const TEXTS = [
  'proxy',
  'time',
  'method',
  'path',
  'authority',
  'details',
  'termination',
  'transportFailure',
  'requestId',
  'route',
  'cluster',
  'upstream',
  'local',
  'remote',
  'sni',
  'forwardedFor',
  'userAgent',
] as const;

export const isLoggedRequest = (v: Readonly<Record<string, unknown>>): v is Readonly<Record<string, unknown>> & LoggedRequest =>
  TEXTS.every((field) => typeof v[field] === 'string') &&
  typeof v['code'] === 'number' &&
  typeof v['durationMs'] === 'number' &&
  (v['principal'] === undefined || typeof v['principal'] === 'string') &&
  Array.isArray(v['flags']) &&
  v['flags'].every((f: unknown) => typeof f === 'string');

/** Undefined for a line that is no access log entry. */
export const readAccessLine = (line: string, proxy: string): LoggedRequest | undefined => {
  const fields = line.startsWith('{') ? jsonFields(line) : textFields(line);
  return fields === undefined ? undefined : { proxy, ...fields };
};

type Fields = Omit<LoggedRequest, 'proxy'>;

/** `-` is Envoy's word for nothing. */
const clean = (value: unknown): string =>
  value === undefined || value === null || value === '-' ? '' : typeof value === 'string' ? value : JSON.stringify(value);

const flagsOf = (text: string): readonly string[] => (text === '' ? [] : text.split(','));

const jsonFields = (line: string): Fields | undefined => {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof read !== 'object' || read === null || !('response_code' in read || 'response_flags' in read)) return undefined;
  const of = (key: string): string => clean((read as Readonly<Record<string, unknown>>)[key]);
  return {
    time: of('start_time'),
    method: of('method'),
    path: of('path'),
    authority: of('authority'),
    code: Number(of('response_code')) || 0,
    flags: flagsOf(of('response_flags')),
    details: of('response_code_details'),
    termination: of('connection_termination_details'),
    transportFailure: of('upstream_transport_failure_reason'),
    requestId: of('request_id'),
    route: of('route_name'),
    cluster: of('upstream_cluster'),
    upstream: of('upstream_host'),
    local: of('downstream_local_address'),
    remote: of('downstream_remote_address'),
    sni: of('requested_server_name'),
    forwardedFor: of('x_forwarded_for'),
    userAgent: of('user_agent'),
    durationMs: Number(of('duration')) || 0,
  };
};

const Q = '"((?:[^"\\\\]|\\\\.)*)"';
const W = '(\\S+)';
const TEXT = new RegExp(
  `^\\[([^\\]]*)\\] "(\\S+) (.*?) (\\S+)" ${W} ${W} ${W} (.+?) ${Q} ${W} ${W} ${W} ${W} ${Q} ${Q} ${Q} ${Q} ${Q} ${W} ${W} ${W} ${W} ${W} ${W}\\s*$`,
);

const textFields = (line: string): Fields | undefined => {
  const m = TEXT.exec(line);
  if (m === null) return undefined;
  const of = (index: number): string => clean(m[index]);
  return {
    time: of(1),
    method: of(2),
    path: of(3),
    code: Number(of(5)) || 0,
    flags: flagsOf(of(6)),
    details: of(7),
    termination: of(8),
    transportFailure: of(9),
    durationMs: Number(of(12)) || 0,
    forwardedFor: of(14),
    userAgent: of(15),
    requestId: of(16),
    authority: of(17),
    upstream: of(18),
    cluster: of(19),
    local: of(21),
    remote: of(22),
    sni: of(23),
    route: of(24),
  };
};
