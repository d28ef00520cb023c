// A running replica: what a Pod is to Kubernetes. Services select instances by label.

export interface InstancePort {
  readonly name: string;
  readonly port: number;
}

export interface Instance {
  readonly name: string;
  readonly namespace: string;
  /** The workload it is a replica of (a Deployment's name in Kubernetes). */
  readonly workload: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly ports: readonly InstancePort[];
  /** Only ready instances receive traffic. */
  readonly ready: boolean;
  /** Has a sidecar that terminates mutual TLS. */
  readonly meshed: boolean;
  /** `region/zone/subzone`. */
  readonly locality?: string;
}
