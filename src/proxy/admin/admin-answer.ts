// One answer of the admin API for the sidecar as a whole: what is counted is added up over all workers first, and what changes
// counters or log level reaches all of them. A worker that does not answer is an error in the page, never a smaller sum.

import { handleAdmin } from './admin-api.ts';
import { type AdminContext, type AdminRequest, type AdminResponse, text } from './admin-context.ts';
import { prometheusStream } from './stats-page.ts';

const COUNTED: ReadonlySet<string> = new Set(['/clusters', '/stats', '/stats/prometheus']);

const TAP = /^\/tap(?:\?|$)/;

/** The one page that may be long has its pieces made while they are read. */
const handle = (context: AdminContext, request: AdminRequest): AdminResponse => {
  const { pathname, searchParams } = new URL(request.path, 'http://admin');
  if (request.pieces !== true || request.method !== 'GET' || pathname !== '/stats/prometheus') return handleAdmin(context, request);
  return prometheusStream(context, searchParams);
};

export const answerAdmin = async (context: AdminContext, request: AdminRequest): Promise<AdminResponse> => {
  const { workers, dataPlane, log } = context;
  if (context.tap !== undefined && request.method === 'POST' && TAP.test(request.path)) return context.tap(request);
  if (workers === undefined) return handle(context, request);
  const { pathname } = new URL(request.path, 'http://admin');
  if (!COUNTED.has(pathname)) {
    const level = log.level.value;
    const response = handleAdmin(context, request);
    if (pathname === '/reset_counters' && response.status === 200) workers.tell({ kind: 'resetCounters' });
    if (log.level.value !== level) workers.tell({ kind: 'level', level: log.level.value });
    return response;
  }
  context.refreshStats();
  try {
    const { stats, metrics, clusters } = await workers.sum();
    const summed: AdminContext['dataPlane'] = {
      stats,
      clusters,
      listeners: () => dataPlane.listeners(),
      routes: () => dataPlane.routes(),
      secrets: () => dataPlane.secrets(),
      referencedSecrets: () => dataPlane.referencedSecrets(),
      extensions: () => dataPlane.extensions(),
    };
    return handle({ ...context, dataPlane: summed, metrics }, request);
  } catch (problem) {
    const reason = problem instanceof Error ? problem.message : String(problem);
    log.error('an admin page cannot be added up', { path: pathname, reason });
    return text(`${reason}\n`, 503);
  }
};
