// What the Grafana dashboards of Istio (mesh, service, workload) ask Prometheus, as they ask it, by panel; and what of it only Kubernetes or
// istiod's own runtime answers. Variables are Grafana's: `$qrep` the reporter, `$srcwl`, `$srcns` callers, `$dstwl`, `$dstns`, `$dstsvc` who is called.

/** `rate`: per second, by `round`. `share`: of two rates. `quantile`: of a histogram, in `scale` units of the metric's. */
export interface IstioExpression {
  readonly panel: string;
  readonly form: 'rate' | 'share' | 'quantile';
  readonly text: string;
}

const SIDES = [
  { side: 'Client', reporter: 'reporter=~"$qrep"' },
  { side: 'Server', reporter: 'reporter="destination"' },
];
/** Each panel has every expression twice. */
const SECURITY = ['connection_security_policy="mutual_tls"', 'connection_security_policy!="mutual_tls"'];
const QUANTILES = ['0.50', '0.90', '0.95', '0.99'];
const WINDOW = '[$__rate_interval]';

const seconds = (q: string, where: string, by: string): string =>
  `(histogram_quantile(${q}, sum(irate(istio_request_duration_milliseconds_bucket{${where}}${WINDOW})) by (${by})) / 1000) or ` +
  `histogram_quantile(${q}, sum(irate(istio_request_duration_seconds_bucket{${where}}${WINDOW})) by (${by}))`;

const general = ({ side, reporter }: (typeof SIDES)[number]): readonly IstioExpression[] => {
  const where = `${reporter},destination_service=~"$service"`;
  const all = `sum(irate(istio_requests_total{${where}}${WINDOW}))`;
  const well = `sum(irate(istio_requests_total{${where},response_code!~"5.*"}${WINDOW}))`;
  return [
    { panel: `service, ${side} Request Volume`, form: 'rate', text: `round(${all}, 0.001)` },
    { panel: `service, ${side} Success Rate`, form: 'share', text: `${well} / (${all} or on () vector(1))` },
    { panel: `service, ${side} Success Rate, before 2024`, form: 'share', text: `${well} / ${all}` },
    ...['0.50', '0.90', '0.99'].map(
      (q): IstioExpression => ({ panel: `service, ${side} Request Duration`, form: 'quantile', text: seconds(q, where, 'le') }),
    ),
    ...(['received', 'sent'] as const).map(
      (way): IstioExpression => ({
        panel: `service, TCP ${way}, ${side}`,
        form: 'rate',
        text: `sum(irate(istio_tcp_${way}_bytes_total{${reporter}, destination_service=~"$service"}${WINDOW}))`,
      }),
    ),
  ];
};

/** One block of a dashboard: the same panels with the caller, the callee or the service called beside each line. */
const block = (title: string, where: string, by: string): readonly IstioExpression[] =>
  SECURITY.flatMap((policy): readonly IstioExpression[] => {
    const requests = (more = ''): string => `sum(irate(istio_requests_total{${policy},${where}${more}}${WINDOW})) by (${by})`;
    return [
      {
        panel: `${title}, requests and response code`,
        form: 'rate',
        text: `round(sum(irate(istio_requests_total{${policy},${where}}${WINDOW})) by (${by}, response_code), 0.001)`,
      },
      { panel: `${title}, success rate`, form: 'share', text: `${requests(',response_code!~"5.*"')} / ${requests()}` },
      ...QUANTILES.flatMap((q): readonly IstioExpression[] => [
        { panel: `${title}, duration P${q.slice(2)}`, form: 'quantile', text: seconds(q, `${policy}, ${where}`, `${by}, le`) },
        ...(['request', 'response'] as const).map(
          (what): IstioExpression => ({
            panel: `${title}, ${what} size P${q.slice(2)}`,
            form: 'quantile',
            text: `histogram_quantile(${q}, sum(irate(istio_${what}_bytes_bucket{${policy}, ${where}}${WINDOW})) by (${by}, le))`,
          }),
        ),
      ]),
      ...(['received', 'sent'] as const).map(
        (way): IstioExpression => ({
          panel: `${title}, TCP bytes ${way}`,
          form: 'rate',
          text: `round(sum(irate(istio_tcp_${way}_bytes_total{${policy}, ${where}}${WINDOW})) by (${by}), 0.001)`,
        }),
      ),
    ];
  });

const SOURCES = 'source_workload, source_workload_namespace';
const TARGETS = 'destination_workload, destination_workload_namespace';
const FROM = 'source_workload=~"$srcwl", source_workload_namespace=~"$srcns"';

const blocks = (): readonly IstioExpression[] => [
  ...block('service, clients', `reporter=~"$qrep", destination_service=~"$service", ${FROM}`, SOURCES),
  ...block(
    'service, workloads',
    'reporter="destination", destination_service=~"$service", destination_workload=~"$dstwl", destination_workload_namespace=~"$dstns"',
    TARGETS,
  ),
  ...block(
    'workload, inbound',
    `reporter=~"$qrep", destination_workload_namespace=~"$dstns", destination_workload=~"$dstwl", ${FROM}`,
    SOURCES,
  ),
  ...block('workload, outbound', `reporter="source", ${FROM}, destination_service=~"$dstsvc"`, 'destination_service'),
];

const MESH = 'reporter=~"source|waypoint"';
const meshRate = (metric: string, more = ''): string => `rate(${metric}{${MESH}${more}}${WINDOW})`;
const row = (inner: string): string =>
  `label_join(${inner}, "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")`;
const SHORT = 'destination_workload,destination_workload_namespace';

const mesh = (): readonly IstioExpression[] => [
  { panel: 'mesh, Traffic Volume', form: 'rate', text: `round(sum by () (${meshRate('istio_requests_total')}), 0.01)` },
  {
    panel: 'mesh, Success Rate',
    form: 'share',
    text: `sum by () (${meshRate('istio_requests_total', ',response_code!~"5.."')}) / sum by () (${meshRate('istio_requests_total')})`,
  },
  ...['4', '5'].map(
    (digit): IstioExpression => ({
      panel: `mesh, ${digit}xxs`,
      form: 'rate',
      text: `round(sum by () (${meshRate('istio_requests_total', `,response_code=~"${digit}.."`)}), 0.01) or vector(0)`,
    }),
  ),
  {
    panel: 'mesh, HTTP Workloads, requests',
    form: 'rate',
    text: row(`sum by (${SHORT},destination_service) (${meshRate('istio_requests_total')})`),
  },
  {
    panel: 'mesh, HTTP Workloads, success rate',
    form: 'share',
    text: row(
      `sum by (${SHORT}) (${meshRate('istio_requests_total', ',response_code!~"5.."')}) / sum by (${SHORT}) (${meshRate('istio_requests_total')})`,
    ),
  },
  ...['0.5', '0.9', '0.99'].map(
    (q): IstioExpression => ({
      panel: `mesh, HTTP Workloads, P${q.slice(2).padEnd(2, '0')}`,
      form: 'quantile',
      text: row(`histogram_quantile(${q}, sum by (le,${SHORT}) (${meshRate('istio_request_duration_milliseconds_bucket')}))`),
    }),
  ),
  ...(['received', 'sent'] as const).map(
    (way): IstioExpression => ({
      panel: `mesh, TCP Workloads, ${way}`,
      form: 'rate',
      text: row(`sum by (${SHORT},destination_service) (${meshRate(`istio_tcp_${way}_bytes_total`)})`),
    }),
  ),
  ...['opened', 'closed'].map(
    (what): IstioExpression => ({
      panel: `TCP connections ${what}`,
      form: 'rate',
      text: `sum by (source_workload,destination_service) (${meshRate(`istio_tcp_connections_${what}_total`)})`,
    }),
  ),
];

export const istioExpressions = (): readonly IstioExpression[] => [...SIDES.flatMap(general), ...blocks(), ...mesh()];

/** Of the dashboard of the control plane: what a Skein mesh answers with something. */
export const ISTIO_CONTROL_PLANE: readonly string[] = [
  'sum by (type) (irate(pilot_xds_pushes{}[$__rate_interval]))',
  'sum by () (pilot_xds{})',
  'sum(envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"}) or sum(envoy_cluster_upstream_cx_active{envoy_cluster_name="xds-grpc"}) or vector(0)',
  'sum(rate(pilot_xds_push_time_bucket{}[1m])) by (le)',
  'sum(rate(pilot_xds_config_size_bytes_bucket{}[1m])) by (le)',
  'sum by (type) (rate(pilot_push_triggers{}[$__rate_interval]))',
  'sum by (component,tag) (istio_build)',
  'histogram_quantile(0.99, sum(rate(pilot_proxy_convergence_time_bucket[1m])) by (le))',
  'process_resident_memory_bytes{app="istiod"}',
  'process_virtual_memory_bytes{app="istiod"}',
  'irate(process_cpu_seconds_total{app="istiod"}[1m])',
  'sum(pilot_services)',
  'sum(pilot_virt_services)',
];
