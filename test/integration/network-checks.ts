// A service of two networks, called from both: directly at home, through the gateway of the other network elsewhere, with mutual TLS from
// workload to workload. One gateway is Envoy where there is one,
// and one is known by the label of its Service, the other by the ConfigMap.
import { fileURLToPath } from 'node:url';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { ENTRANCES, type Host, TwoNetworks } from './two-networks.ts';

const SERVICE = '10.96.0.10';
const ECHO = fileURLToPath(new URL('./echo.ts', import.meta.url));
const TAKES_EFFECT_MS = 20_000;

const entry = (network: 'west' | 'east'): string => `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: echo-${network}, labels: {app: echo, network: ${network}, security.istio.io/tlsMode: istio}}
spec: {address: ${network === 'west' ? '10.1.0.5' : '10.2.0.5'}, serviceAccount: echo}
`;

const configuration = (...networks: readonly ('west' | 'east')[]): string => `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks:
      west: {endpoints: [{fromCidr: 10.1.0.0/16}]}
      east: {endpoints: [{fromCidr: 10.2.0.0/16}], gateways: [{address: ${ENTRANCES.east}, port: 15443}]}
---
apiVersion: v1
kind: Service
metadata: {name: gateway-west, namespace: istio-system, labels: {topology.istio.io/network: west}}
spec: {externalIPs: [${ENTRANCES.west}], ports: [{name: tls, port: 15443}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network-gateway, namespace: istio-system}
spec:
  selector: {istio: eastwestgateway}
  servers: [{port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {clusterIP: ${SERVICE}, selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: west, labels: {network: west}}, {name: east, labels: {network: east}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
  - {match: [{headers: {to: {exact: west}}}], route: [{destination: {host: echo, subset: west}}]}
  - {match: [{headers: {to: {exact: east}}}], route: [{destination: {host: echo, subset: east}}]}
  - route: [{destination: {host: echo}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec: {selector: {matchLabels: {app: echo}}, rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/caller]}}]}]}
${networks.map(entry).join('')}`;

/** Needs the right to make network namespaces. */
export const networkChecks = async (suite: Suite, envoy: string | undefined, named: Named): Promise<void> => {
  const mesh = new TwoNetworks();
  const hosts: Record<string, Host> = {};
  const of = (name: string): Host => {
    const host = hosts[name];
    if (host === undefined) throw new Error(`there is no ${name}`);
    return host;
  };
  try {
    const up = await suite.check(named('two networks, a gateway each, are ready'), async () => {
      await mesh.start(configuration('west', 'east'));
      const application = (network: string): readonly string[] => [process.execPath, ECHO, network];
      hosts['gateway-west'] = await mesh.gateway('west');
      hosts['gateway-east'] = await mesh.gateway('east', envoy);
      hosts['echo-west'] = await mesh.workload('echo-west', 'echo', { network: 'west', host: 5 }, application('west'));
      hosts['echo-east'] = await mesh.workload('echo-east', 'echo', { network: 'east', host: 5 }, application('east'));
      hosts['caller-west'] = await mesh.workload('caller-west', 'caller', { network: 'west', host: 6 });
      hosts['caller-east'] = await mesh.workload('caller-east', 'caller', { network: 'east', host: 6 });
      await mesh.ready(Object.values(hosts));
      return envoy === undefined ? 'both gateways are Skein’s' : 'the gateway of one is Skein’s, of the other Envoy';
    });
    // `--only` may have left the start out.
    if (!up || Object.keys(hosts).length === 0) return;
    await runningChecks(suite, mesh, of, named);
  } finally {
    await mesh.stop();
  }
};

const runningChecks = async (suite: Suite, mesh: TwoNetworks, of: (name: string) => Host, named: Named): Promise<void> => {
  await suite.check(named('no way leads from one network to the other but the gateways'), async () => {
    const direct = await of('caller-west').curlAsProxy('http://10.2.0.5:8080/');
    expect(direct.code === 7, `curl ended with ${direct.code}: ${direct.out}${direct.err}`);
    return undefined;
  });
  for (const from of ['west', 'east'] as const) {
    const caller = of(`caller-${from}`);
    await suite.check(named(`a caller in the ${from} reaches both networks as itself`), () => reachesBoth(caller));
    await suite.check(named(`a rule sends what comes from the ${from} to either: subsets keep their name on the way`), () =>
      reachesEither(caller),
    );
    await suite.check(named(`connections from the ${from} that are not HTTP cross as well`), async () => {
      const seen = await serving(caller, `http://${SERVICE}:90/`, 12);
      return seen === 'east west' ? undefined : Promise.reject(new Error(`answered by ${seen}`));
    });
  }
  await suite.check(named('a gateway passes on to its own network only, and nothing without a name it knows'), () => gatewayIsStrict(of));
  await suite.check(named('who may not call may not call from another network either'), async () => {
    const denied = await of('echo-west').curl('-H', 'to: east', '-o', '/dev/null', '-w', '%{http_code}', `http://${SERVICE}/`);
    expect(denied.out === '403', `answered ${denied.out} ${denied.err}`);
    return undefined;
  });
  await suite.check(named('when its own network has nobody left, the other serves'), async () => {
    mesh.configure(configuration('east'));
    await eventually('only the other network answers', TAKES_EFFECT_MS, async () => {
      const seen = await serving(of('caller-west'), `http://${SERVICE}/`, 6);
      return seen === 'east' ? true : Promise.reject(new Error(seen));
    });
    return undefined;
  });
};

/** What the echo says of itself and of who called it. */
const call = async (caller: Host, ...args: string[]): Promise<Readonly<Record<string, string>>> => {
  const answer = await caller.curl('--fail-with-body', ...args);
  expect(answer.code === 0, `curl ended with ${answer.code}: ${answer.out}${answer.err}`);
  return JSON.parse(answer.out) as Record<string, string>;
};

/** Names of the networks that answered, sorted. */
const serving = async (caller: Host, url: string, count: number, ...args: string[]): Promise<string> => {
  const seen = new Set<string>();
  for (let i = 0; i < count; i++) seen.add((await call(caller, ...args, url))['x-served-by'] ?? 'nobody');
  return [...seen].sort().join(' ');
};

const reachesBoth = async (caller: Host): Promise<string> => {
  const seen = new Map<string, number>();
  for (let i = 0; i < 20; i++) {
    const answer = await call(caller, `http://${SERVICE}/`);
    const by = answer['x-served-by'] ?? 'nobody';
    seen.set(by, (seen.get(by) ?? 0) + 1);
    const uri = 'URI=spiffe://cluster.local/ns/default/sa/caller';
    expect(answer['x-forwarded-client-cert']?.endsWith(uri) === true, `the server saw ${answer['x-forwarded-client-cert']}`);
  }
  const [west = 0, east = 0] = [seen.get('west'), seen.get('east')];
  expect(west >= 7 && east >= 7, `west answered ${west}, east ${east} of 20`);
  return `west ${west}, east ${east} of 20`;
};

const reachesEither = async (caller: Host): Promise<undefined> => {
  for (const to of ['west', 'east']) {
    const seen = await serving(caller, `http://${SERVICE}/`, 6, '-H', `to: ${to}`);
    expect(seen === to, `asked for ${to}, answered by ${seen}`);
  }
  return undefined;
};

const gatewayIsStrict = async (of: (name: string) => Host): Promise<undefined> => {
  const dump = await of('gateway-east').curl('http://127.0.0.1:15000/clusters');
  expect(
    dump.out.includes('10.2.0.5:8080') && !dump.out.includes('10.1.0.5'),
    `the gateway of the east knows:\n${dump.out.slice(0, 2000)}`,
  );
  for (const [network, name] of [
    ['west', 'outbound_.80_._.other.default.svc.cluster.local'],
    ['east', 'outbound_.80_._.other.default.svc.cluster.local'],
  ] as const) {
    const address = `${ENTRANCES[network]}:15443`;
    const asked = await of('caller-east').run('sh', '-c', `echo | timeout 5 openssl s_client -connect ${address} -servername ${name} 2>&1`);
    expect(!asked.out.includes('BEGIN CERTIFICATE'), `the gateway of the ${network} passed on an unknown name: ${asked.out.slice(0, 500)}`);
    const plain = await of('caller-east').curl(`http://${address}/`);
    expect(plain.code !== 0 && plain.out === '', `the gateway of the ${network} answered plain text: ${plain.out}`);
  }
  return undefined;
};
