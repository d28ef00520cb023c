// The configuration that is measured: one file an object, as a team would keep it. Pure: names and texts, no disk.

export interface ConfigFile {
  readonly name: string;
  readonly text: string;
}

const NAMESPACE = 'bench';
/** HTTP port of every service. */
const PORT = 8080;

const serviceName = (i: number): string => `svc-${String(i).padStart(4, '0')}`;
const host = (i: number): string => `${serviceName(i)}.${NAMESPACE}.svc.cluster.local`;
const address = (net: number, i: number): string => `10.${net}.${Math.floor(i / 250)}.${(i % 250) + 1}`;

/** Address of a service's first endpoint: the proxy beside it calls from there. */
export const workloadAddress = (i: number): string => address(100, i);

/** A service with two endpoints, `v1` and `v2`; `moved` gives the second one another address. */
export const serviceFile = (i: number, moved = 0): ConfigFile => ({
  name: `service-${serviceName(i)}.yaml`,
  text: `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: ${serviceName(i)}
  namespace: ${NAMESPACE}
spec:
  hosts: [${host(i)}]
  addresses: [${address(200, i)}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - number: ${PORT}
      name: http
      protocol: HTTP
  endpoints:
    - address: ${workloadAddress(i)}
      labels: {app: ${serviceName(i)}, version: v1}
    - address: ${address(101 + moved, i)}
      labels: {app: ${serviceName(i)}, version: v2}
`,
});

export const routeFile = (i: number, weight: number): ConfigFile => ({
  name: `route-${serviceName(i)}.yaml`,
  text: `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ${serviceName(i)}
  namespace: ${NAMESPACE}
spec:
  hosts: [${host(i)}]
  http:
    - route:
        - destination: {host: ${host(i)}, subset: v1}
          weight: ${weight}
        - destination: {host: ${host(i)}, subset: v2}
          weight: ${100 - weight}
`,
});

const ruleFile = (i: number): ConfigFile => ({
  name: `rule-${serviceName(i)}.yaml`,
  text: `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: ${serviceName(i)}
  namespace: ${NAMESPACE}
spec:
  host: ${host(i)}
  subsets:
    - name: v1
      labels: {version: v1}
    - name: v2
      labels: {version: v2}
`,
});

export const WEIGHT_AT_START = 90;

export const configFiles = (n: number): ConfigFile[] => {
  const files: ConfigFile[] = [];
  for (let i = 0; i < n; i++) {
    files.push(serviceFile(i));
    if (i % 2 === 0) files.push(routeFile(i, WEIGHT_AT_START), ruleFile(i));
  }
  return files;
};

/** The node of a client: the proxy beside the first endpoint of a service. */
export const clientNode = (i: number, n: number): { readonly [field: string]: unknown } => {
  const of = i % n;
  const ip = i < n ? workloadAddress(of) : address(99, i);
  return {
    id: `sidecar~${ip}~${serviceName(of)}-${i}.${NAMESPACE}~${NAMESPACE}.svc.cluster.local`,
    cluster: `${serviceName(of)}.${NAMESPACE}`,
    user_agent_name: 'envoy',
    user_agent_build_version: { version: { major_number: 1, minor_number: 38, patch: 0 } },
    metadata: {
      NAME: `${serviceName(of)}-${i}`,
      NAMESPACE,
      CLUSTER_ID: 'Kubernetes',
      ISTIO_VERSION: '1.30.3',
      INSTANCE_IPS: ip,
      SERVICE_ACCOUNT: 'default',
      LABELS: { app: serviceName(of), version: 'v1' },
      MESH_ID: 'cluster.local',
    },
  };
};

/** A service that was added goes after so many edits. */
const ADDED_FOR_EDITS = 501;
/** Edits after which as many objects go as come, and every rule that is ever written is there. */
export const churnSteadyAt = (n: number): number => Math.max(ADDED_FOR_EDITS, (5 * n) / gcd(35, n)) + 10;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The nth of an endless row of edits; a file without text goes. Names and addresses do not repeat for long. */
export const churnEdit = (edit: number, n: number): readonly { readonly name: string; readonly text: string | undefined }[] => {
  const i = (edit * 7) % n;
  switch (edit % 5) {
    case 0:
      return [routeFile(i - (i % 2), 1 + (edit % 98))];
    case 1:
      return [serviceFile(i, 1 + (edit % 50))];
    case 2:
      return [{ ...ruleFile(i), text: `${ruleFile(i).text}  trafficPolicy: {connectionPool: {tcp: {maxConnections: ${edit + 1}}}}\n` }];
    case 3:
      return [serviceFile(n + edit)];
    default: {
      const gone = n + edit - ADDED_FOR_EDITS;
      return gone < n ? [] : [{ name: serviceFile(gone).name, text: undefined }];
    }
  }
};
