// `skein mtls`: which calls are in plain text now, and who would be refused under STRICT, from what the called sidecars have counted.
import type { Command } from 'commander';
import { AdminCallError, AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { parseConfigDump } from './config-dump.ts';
import { type Edge, edgesOf, type InboundMode, inboundMode } from './mtls-edges.ts';
import { print, structured, table } from './output.ts';
import type { ProxyEntry } from './proxy-status.ts';

interface Options {
  readonly namespace?: string;
  readonly during?: string;
  readonly exitCode?: boolean;
  readonly output: string;
  readonly state?: string;
}

interface Silent {
  readonly proxy: string;
  readonly reason: string;
}

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('mtls', 'Show which calls are in plain text, and who would be refused under STRICT.')))
    .option('-n, --namespace <name>', 'only calls to workloads of this namespace')
    .option('--during <seconds>', 'count only what comes in this time from now; without, since each sidecar began')
    .option('--exit-code', 'exit with 1 when STRICT would refuse somebody, or calls to a sidecar are not known')
    .addHelpText(
      'after',
      `
Examples:
  skein mtls
  skein mtls -n production --during 30
  skein mtls -o json --exit-code && skein apply -f strict.yaml

Counted are requests, for TCP connections, where they arrive: calls to workloads without a sidecar are not seen. A caller that is \`unknown\`
has told no name and shown no certificate; its address is in the access log of the called sidecar.
MODE is what the called sidecar takes now. UNDER STRICT: works, refused, or depends (the reason is printed below the table).
Exit codes: 0 printed, 1 with --exit-code when somebody would be refused or is not known; 2 wrong usage; 3 no control plane is running.`,
    );

export const command = {
  name: 'mtls',
  summary: 'show which calls are in plain text and who would break under STRICT',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const seconds = options.during === undefined ? 0 : Number(options.during);
      if (!(seconds >= 0 && seconds <= 3600)) throw new UsageError(`--during ${options.during}: seconds, 3600 at most`);
      const { edges, silent } = await look(new AdminClient(options.state), options.namespace, seconds);
      for (const { proxy, reason } of silent) process.stderr.write(`skein: calls to ${proxy} are not known: ${reason}\n`);
      print(format === 'table' ? edgeTable(edges) : structured({ edges, silent }, format));
      if (options.exitCode === true && (silent.length > 0 || edges.some((e) => e.underStrict !== 'works'))) process.exitCode = EXIT_FAILED;
    }),
};

const look = async (
  admin: AdminClient,
  namespace: string | undefined,
  seconds: number,
): Promise<{ readonly edges: readonly Edge[]; readonly silent: readonly Silent[] }> => {
  const all = (await admin.json('GET', '/v1/proxies')) as readonly ProxyEntry[];
  const { workloads } = (await admin.json('GET', '/v1/status')) as { readonly workloads: readonly Workload[] };
  const meshed = new Set(workloads.filter((w) => w.meshed).map((w) => `${w.workload}.${w.namespace}`));
  const silent: Silent[] = [];
  const asked = all.filter((p) => namespace === undefined || p.namespace === namespace);
  const pages = async (): Promise<Map<ProxyEntry, string>> => {
    const read = new Map<ProxyEntry, string>();
    for (const proxy of asked) {
      const page = await askProxy(admin, proxy, 'stats/prometheus?filter=istio_', silent);
      if (page !== undefined) read.set(proxy, page);
    }
    return read;
  };
  const before = seconds > 0 ? await pages() : undefined;
  if (seconds > 0) await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const readings: { metrics: string; before?: string; mode: InboundMode }[] = [];
  for (const [proxy, metrics] of await pages()) {
    const dump = await askProxy(admin, proxy, 'config_dump', silent);
    const mode = dump === undefined ? undefined : inboundMode(parseConfigDump(JSON.parse(dump)).listeners);
    const earlier = before?.get(proxy);
    // A gateway takes no calls of the mesh.
    if (mode === undefined) continue;
    if (dump?.includes('istio.stats') !== true) silent.push({ proxy: `${proxy.name}.${proxy.namespace}`, reason: UNCOUNTED });
    else readings.push({ metrics, mode, ...(earlier === undefined ? {} : { before: earlier }) });
  }
  return { edges: edgesOf(readings, (c) => meshed.has(`${c.workload}.${c.namespace}`)), silent };
};

/** Stock Envoy knows no istio.stats; a Telemetry may leave it out. */
const UNCOUNTED = 'it has no Istio metrics (a stock Envoy, or a Telemetry that switched them off)';

interface Workload {
  readonly workload: string;
  readonly namespace: string;
  readonly meshed: boolean;
}

const askProxy = async (
  admin: AdminClient,
  { name, namespace }: ProxyEntry,
  path: string,
  silent: Silent[],
): Promise<string | undefined> => {
  const proxy = `${name}.${namespace}`;
  try {
    const reply = await admin.call('GET', `/v1/proxies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}/admin/${path}`);
    if (reply.status < 300) return reply.text;
    silent.push({ proxy, reason: `${reply.status} ${reply.text.trim().slice(0, 200)}` });
  } catch (problem) {
    if (!(problem instanceof AdminCallError)) throw problem;
    silent.push({ proxy, reason: problem.message });
  }
  return undefined;
};

const edgeTable = (edges: readonly Edge[]): string => {
  if (edges.length === 0) return 'No calls between workloads have been counted yet.\n';
  const reasons: string[] = [];
  const rows = edges.map((e) => {
    if (e.why !== '' && !reasons.includes(e.why)) reasons.push(e.why);
    const note = e.why === '' ? '' : ` [${reasons.indexOf(e.why) + 1}]`;
    return [sourceName(e), e.destination.service, e.protocol, String(e.plaintext), String(e.mutualTls), e.mode, `${e.underStrict}${note}`];
  });
  const notes = reasons.map((reason, i) => `[${i + 1}] ${reason}\n`).join('');
  const refused = edges.filter((e) => e.underStrict !== 'works').length;
  const sum =
    refused === 0 ? 'Nobody would be refused under STRICT.\n' : `${refused} of ${edges.length} would or might be refused under STRICT.\n`;
  return `${table(['SOURCE', 'DESTINATION', 'PROTOCOL', 'PLAINTEXT', 'MTLS', 'MODE', 'UNDER STRICT'], rows)}\n${notes}${sum}`;
};

const sourceName = ({ source, principal }: Edge): string =>
  source.workload !== '' ? `${source.workload}.${source.namespace}` : principal !== '' ? principal : 'unknown';
