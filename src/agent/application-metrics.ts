// Where a workload's application tells its metrics, as Istio's annotations say it, and one look at it: bounded in time and size. An
// application that does not answer is a counter, never a failed page.
import { pageOverHttp } from './admin-client.ts';
import { APPLICATION_METRICS_BYTES_MAX, APPLICATION_METRICS_MS } from './limits.ts';

export interface ApplicationMetrics {
  readonly port: number;
  readonly path: string;
}

export interface ApplicationPage {
  readonly body: string;
  readonly openMetrics: boolean;
}

/** Undefined: it is not to be asked. `given`: ISTIO_PROMETHEUS_ANNOTATIONS; `annotations`: of the workload. Answers a text that says what is wrong. */
export const readApplicationMetrics = (
  given: { readonly [key: string]: unknown },
  annotations: { readonly [key: string]: unknown },
): ApplicationMetrics | undefined | string => {
  if (annotations['prometheus.istio.io/merge-metrics'] === 'false') return undefined;
  const one = (name: 'scrape' | 'port' | 'path' | 'scheme'): string | undefined => {
    const value = given[name] ?? annotations[`prometheus.io/${name}`];
    return value === undefined || value === '' ? undefined : String(value);
  };
  if (one('scrape') !== 'true') return undefined;
  const scheme = one('scheme') ?? 'http';
  if (scheme !== 'http') return `prometheus.io/scheme ${scheme} is not supported: http`;
  const port = one('port') ?? '80';
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535) return `prometheus.io/port must be 1 to 65535, not ${port}`;
  const path = one('path') ?? '/metrics';
  const whole = path.startsWith('/') ? path : `/${path}`;
  if (!/^\/[\x21-\x7e]*$/.test(whole)) return `prometheus.io/path is no path: ${path}`;
  return { port: Number(port), path: whole };
};

/** Rejects when there is no page. */
export const askApplication = async ({ port, path }: ApplicationMetrics): Promise<ApplicationPage> => {
  const { status, headers, body } = await pageOverHttp(
    { host: '127.0.0.1', port, bytesMax: APPLICATION_METRICS_BYTES_MAX, timeoutMs: APPLICATION_METRICS_MS },
    { method: 'GET', path, body: '' },
    // Text first: it is what the page is in.
    { accept: 'text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1' },
  );
  if (status !== 200) throw new Error(`the application answers ${status}`);
  return { body, openMetrics: (headers['content-type'] ?? '').startsWith('application/openmetrics-text') };
};
