// What an agent is told when it starts: flags and environment of `skein proxy` (agent mode) and `skein agent`.
// Hand-written parsing: a sidecar's start-up budget has no room for a command-line library.
// Never holds a key; the token is read when it is needed and is never printed.

import type { ApplicationMetrics } from './application-metrics.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface DnsConfig {
  readonly listen: HostPort;
  /** Resolvers for every name the mesh does not know, tried in order. Empty: such names do not exist. */
  readonly upstreams: readonly HostPort[];
}

export interface AgentConfig {
  /** The replica's name, unique in its namespace (a Pod's name). */
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly workload: string;
  readonly ips: readonly string[];
  readonly labels: { readonly [key: string]: string };
  readonly trustDomain: string;
  /** `cluster.local` in `<ns>.svc.cluster.local`. */
  readonly domain: string;
  readonly clusterId: string;
  readonly meshId: string;
  readonly locality: { readonly region?: string; readonly zone?: string; readonly sub_zone?: string };
  /** `unix:PATH` or `HOST:PORT`. */
  readonly xds: string;
  /** PEM bundle that the control plane's TLS certificate must chain to; absent: plain HTTP/2. */
  readonly xdsCaPem: string | undefined;
  /** Called for each use, so that a token file may be replaced. Never logged. */
  readonly token: () => string | undefined;
  /** Folder (0700) for `xds.sock` and Envoy's bootstrap. */
  readonly runDir: string;
  readonly dns: DnsConfig | undefined;
  /** 15021: readiness, on every address. */
  readonly statusPort: number;
  /** Where the application tells its metrics, or why that is not known; absent: they are not merged. */
  readonly applicationMetrics?: ApplicationMetrics | string;
  /** 15020: merged metrics, `/quitquitquit`. */
  readonly statsPort: number;
  /** 15000: the proxy's admin API, loopback. */
  readonly adminPort: number;
  /** 15090: the proxy's metrics. */
  readonly prometheusPort: number;
  readonly gateway: boolean;
  /** Merged over the metadata made here. */
  readonly metadata: { readonly [key: string]: unknown };
  /** Commands that a probe of the control plane names may be run here; those of an own probe always are. */
  readonly execProbes?: boolean;
  /** Source address of connections that leave the sidecar: capture lets packets from it pass. */
  readonly bindSource: string | undefined;
  readonly appPorts: readonly number[];
  /** Who listens on `statusPort`: the agent itself (proxy in this process) or the proxy's static listener (Envoy), as in Istio. */
  readonly statusListener: 'agent' | 'proxy';
  /** Unix socket for the SPIFFE Workload API, which gives the key to whoever may open it: off when absent. */
  readonly workloadApi?: string;
  /** The control plane is told what happens: by a proxy in this process, or by an Envoy's own streams. */
  readonly summaries?: boolean;
  /** Life asked for a certificate, seconds; the authority may give less. */
  readonly certificateTtlS: number;
}

/** A wrong flag or value; the message names it and what is allowed. */
export class AgentConfigError extends Error {}

export const identityOf = (c: Pick<AgentConfig, 'trustDomain' | 'namespace' | 'serviceAccount'>): string =>
  `spiffe://${c.trustDomain}/ns/${c.namespace}/sa/${c.serviceAccount}`;
