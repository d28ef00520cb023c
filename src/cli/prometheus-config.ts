// The configuration of a Prometheus that scrapes the mesh: by the door of `skein prometheus serve`, or directly with the admin API's list. Pure.

export interface ScrapeSettings {
  /** Prometheus' duration: `15s`. */
  readonly interval: string;
  readonly rules: readonly string[];
}

/** Targets say where they are; nothing is rewritten, so dashboards made for Istio find the labels they know. */
const SIDECARS = 'skein-sidecars';
const CONTROL_PLANE = 'istiod';
const CONTROL_PLANE_LABELS = { app: 'istiod', namespace: 'istio-system' };

/** Prometheus runs on the host of `skein up`. */
export const doorConfig = (door: string, settings: ScrapeSettings): unknown => ({
  ...common(settings),
  scrape_configs: [
    {
      job_name: SIDECARS,
      proxy_url: `http://${door}`,
      http_sd_configs: [{ url: `http://${door}/targets`, refresh_interval: '5s' }],
    },
    {
      job_name: CONTROL_PLANE,
      metrics_path: '/control-plane/metrics',
      static_configs: [{ targets: [door], labels: { ...CONTROL_PLANE_LABELS, instance: 'istiod.istio-system' } }],
    },
  ],
});

export interface AdminAccess {
  /** `https://HOST:PORT` of `--admin-port`. */
  readonly url: URL;
  readonly tokenFile: string;
  readonly caFile: string | undefined;
}

/** Prometheus reaches the workloads' addresses and the control plane's admin port. */
export const directConfig = ({ url, tokenFile, caFile }: AdminAccess, settings: ScrapeSettings): unknown => {
  const access = {
    authorization: { type: 'Bearer', credentials_file: tokenFile },
    ...(caFile === undefined ? {} : { tls_config: { ca_file: caFile } }),
  };
  return {
    ...common(settings),
    scrape_configs: [
      {
        job_name: SIDECARS,
        http_sd_configs: [{ url: new URL('/v1/prometheus/targets', url).href, refresh_interval: '15s', ...access }],
      },
      {
        job_name: CONTROL_PLANE,
        scheme: url.protocol.slice(0, -1),
        ...access,
        static_configs: [{ targets: [url.host], labels: CONTROL_PLANE_LABELS }],
      },
    ],
  };
};

const common = ({ interval, rules }: ScrapeSettings): object => ({
  global: { scrape_interval: interval, evaluation_interval: interval },
  ...(rules.length === 0 ? {} : { rule_files: rules }),
});
