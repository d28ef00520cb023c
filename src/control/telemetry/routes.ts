// The admin API's view of the embedded summaries: golden signals, recent requests, one trace, and summaries as they change.
import { AdminError, type AdminReply, type AdminRequest, type AdminRoute } from '../admin/http.ts';
import { EVENT_BACKLOG_BYTES_MAX } from '../limits.ts';
import type { ControlTelemetry, Summary } from './control-telemetry.ts';
import { KEPT_MS, REFUSED_MAX } from './limits.ts';
import type { RecentRequest, RequestFilter } from './recent-requests.ts';
import type { ReportedSpan } from './recent-spans.ts';
import { GROUPS, type GroupBy, type SummaryFilter } from './summary.ts';
import { buildTrace } from './trace.ts';

const WINDOW_S = 60;
const LIMIT = 100;
const LIMIT_MAX = 5000;
const STREAM_S = 2;
const STREAMS_MAX = 32;
/** What other requests a trace is held against. */
const AROUND_MS = 60_000;

/** Without telemetry every route says so. */
export const telemetryRoutes = (telemetry: ControlTelemetry | undefined): readonly AdminRoute[] => {
  if (telemetry === undefined) {
    const handle = (): AdminReply => {
      throw new AdminError(404, 'TELEMETRY_OFF', 'the control plane keeps no telemetry: it was started with --no-telemetry');
    };
    return ['/v1/telemetry/*'].map((pattern) => ({ method: 'GET', pattern, handle }));
  }
  let streams = 0;
  return [
    {
      method: 'GET',
      pattern: '/v1/telemetry/summary',
      handle: async ({ url }) => ({ status: 200, json: await telemetry.summary(...askedOf(url)) }),
    },
    { method: 'GET', pattern: '/v1/telemetry/requests', handle: (r) => ({ status: 200, json: requestsOf(r, telemetry) }) },
    {
      method: 'GET',
      pattern: '/v1/telemetry/refused-connections',
      handle: ({ url }) => ({
        status: 200,
        json: telemetry.refused.find(textIn(url, 'remote'), numberIn(url, 'limit', LIMIT, 1, REFUSED_MAX)),
      }),
    },
    { method: 'GET', pattern: '/v1/telemetry/traces/:', handle: (r) => ({ status: 200, json: traceOf(r, telemetry) }) },
    {
      method: 'GET',
      pattern: '/v1/telemetry/stream',
      handle: ({ url }) => {
        const asked = askedOf(url);
        const everyS = numberIn(url, 'every', STREAM_S, 1, 3600);
        if (streams >= STREAMS_MAX) throw new AdminError(503, 'BUSY', `${STREAMS_MAX} readers of summaries are connected already`);
        streams++;
        return summaryStream(
          () => telemetry.summary(...asked),
          everyS * 1000,
          () => void streams--,
        );
      },
    },
  ];
};

const numberIn = (url: URL, name: string, otherwise: number, least: number, most: number): number => {
  const text = url.searchParams.get(name);
  if (text === null) return otherwise;
  const value = Number(text);
  if (text === '' || !Number.isFinite(value) || value < least || value > most)
    throw new AdminError(400, 'INVALID', `${name} must be a number between ${least} and ${most}`);
  return value;
};

const textIn = (url: URL, name: string): string | undefined => url.searchParams.get(name) ?? undefined;

const askedOf = (url: URL): [windowS: number, by: GroupBy, filter: SummaryFilter] => {
  const by = GROUPS.find((g) => g === (url.searchParams.get('by') ?? 'route'));
  if (by === undefined) throw new AdminError(400, 'INVALID', `by must be one of ${GROUPS.join(', ')}`);
  const filter = { namespace: textIn(url, 'namespace'), workload: textIn(url, 'workload'), host: textIn(url, 'host') };
  return [numberIn(url, 'window', WINDOW_S, 1, KEPT_MS / 1000), by, withoutUndefined(filter)];
};

const withoutUndefined = <T extends object>(given: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> };

const requestsOf = ({ url }: AdminRequest, telemetry: ControlTelemetry): unknown => {
  const filter: RequestFilter = withoutUndefined({
    trace: textIn(url, 'trace'),
    workload: textIn(url, 'workload'),
    status: textIn(url, 'status'),
    path: textIn(url, 'path'),
  });
  const found = telemetry.requests.find(filter, numberIn(url, 'limit', LIMIT, 1, LIMIT_MAX));
  return { requests: found.map(requestDocument) };
};

const requestDocument = ({ atMs, details, attempts, ...rest }: RecentRequest): unknown => ({
  at: new Date(atMs).toISOString(),
  ...rest,
  details,
  attempts,
});

const traceOf = ({ parameters }: AdminRequest, telemetry: ControlTelemetry): unknown => {
  const [id = ''] = parameters;
  const { own, spans } = ofTrace(id, telemetry);
  const times = [...own.map((r) => r.atMs), ...spans.map((s) => s.startUs / 1000)];
  const around = telemetry.requests.between(Math.min(...times) - AROUND_MS, Math.max(...times) + AROUND_MS);
  const trace = buildTrace(id, own, spans, times.length === 0 ? [] : around);
  if (trace === undefined)
    throw new AdminError(
      404,
      'NOT_FOUND',
      `nobody told of trace or request ${id}: a busy sidecar tells of some only, errors and slow ones first, and the newest are kept`,
    );
  return trace;
};

/** An x-request-id leads to the whole of its trace where spans are reported. */
const ofTrace = (id: string, telemetry: ControlTelemetry): { readonly own: RecentRequest[]; readonly spans: ReportedSpan[] } => {
  const own = telemetry.requests.find({ trace: id }, LIMIT_MAX);
  const traces = new Set(own.map((r) => r.traceId).filter((t) => t !== ''));
  const [only = id] = traces.size === 1 ? traces : [];
  const spans = telemetry.spans.find(only, LIMIT_MAX);
  const trace = spans[0]?.traceId;
  if (trace === undefined) return { own, spans };
  const more = telemetry.requests.find({ trace }, LIMIT_MAX);
  return { own: more.length >= own.length ? more : own, spans };
};

const summaryStream = (make: () => Promise<Summary>, everyMs: number, ended: () => void): AdminReply => ({
  stream: (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    let open = true;
    let busy = false;
    const send = async (): Promise<void> => {
      if (busy) return;
      busy = true;
      try {
        const summary = await make();
        if (open) response.write(`event: summary\ndata: ${JSON.stringify(summary)}\n\n`);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (open) response.write(`event: problem\ndata: ${JSON.stringify({ message })}\n\n`);
      }
      busy = false;
      // A reader that does not keep up is cut off.
      if (open && response.writableLength > EVENT_BACKLOG_BYTES_MAX) response.destroy();
    };
    void send();
    const timer = setInterval(() => void send(), everyMs);
    timer.unref();
    const close = (): void => {
      if (!open) return;
      open = false;
      clearInterval(timer);
      ended();
    };
    response.on('close', close);
    response.on('error', close);
  },
});
