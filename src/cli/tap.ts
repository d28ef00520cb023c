// `skein tap`: requests as they end, and TCP connections where asked for, shown by the sidecars that they pass, live. Nothing is changed and nothing is kept; who taps is in the
// audit log. Sidecars that cannot be tapped (stock Envoy) are named, never left out in silence.
import { AdminCallError, AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { look, untilInterrupted } from './live-screen.ts';
import { findProxy } from './proxy-name.ts';
import type { ProxyEntry } from './proxy-status.ts';
import { windowSeconds } from './signals.ts';
import { isTappable, TapAttachment, TapReturns } from './tap-attachment.ts';
import { connectionBlock, connectionLine, requestBlock, requestLine, type TappedConnection, type TappedRequest } from './tap-lines.ts';
import { someOf, TapLosses } from './tap-losses.ts';
import { followRecent, type Recent, type RecentMatch } from './tap-recent.ts';

interface Options {
  readonly path?: string;
  readonly pathPrefix?: string;
  readonly method?: string;
  readonly status: readonly string[];
  readonly header: readonly string[];
  readonly authority?: string;
  readonly from?: string;
  readonly to?: string;
  readonly namespace?: string;
  readonly proxySide?: string;
  readonly minDuration?: string;
  readonly tcp?: boolean;
  readonly open?: boolean;
  readonly maxRps: string;
  readonly count: string;
  readonly for: string;
  readonly wait: string;
  readonly headers?: boolean;
  readonly redact: readonly string[];
  readonly output: string;
  readonly state?: string;
}

const several = (value: string, before: readonly string[]): readonly string[] => [...before, ...value.split(',').map((v) => v.trim())];
const together = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = () =>
  withOutputOption(
    withStateOption(newCommand('tap', 'Show requests as they end, live, from the sidecars that they pass.')),
    'text, wide or json (lines)',
  )
    .argument('[workload...]', 'sidecars: proxies or workloads, as NAME or NAME.NAMESPACE; without, all that are connected')
    .option('--path <path>', 'exactly this path, without its query')
    .option('--path-prefix <text>', 'paths that begin so')
    .option('--method <method>', 'GET, POST …')
    .option('--status <codes>', 'codes and classes: 503, 4xx,5xx; 0: no answer', several, [])
    .option('--header <name[:value]>', 'requests with this header; may be repeated: all must be there', together, [])
    .option('--authority <host>', 'of this host')
    .option('--from <name>', 'sent by this workload')
    .option('--to <name>', 'sent to this workload or service')
    .option('-n, --namespace <name>', 'only sidecars of this namespace')
    .option('--proxy-side <side>', 'outbound: where requests leave a workload; inbound: where they come in; without, both')
    .option('--min-duration <ms>', 'took so long at least')
    .option('--tcp', 'TCP connections too, when they have ended')
    .option('--open', 'with --tcp: also when they begin')
    .option('--max-rps <n>', 'shown a second, by each sidecar; what is over it is counted', '100')
    .option('--count <n>', 'end after so many; as -n 5 too', '0')
    .option('--for <time>', 'end after this time; at most 1h', '10m')
    .option('--wait <time>', 'a sidecar that is lost is waited for so long, and tapped again; 0s: not at all', '1m')
    .option('--headers', 'show headers too (with -o wide or json)')
    .option('--redact <name>', 'hide this header or query parameter too; may be repeated', together, [])
    .addHelpText(
      'after',
      `
Examples:
  skein tap --path-prefix /api/v1/charge
  skein tap payment-v1 --status 5xx --proxy-side inbound -o wide --headers
  skein tap --from web --to order-service --max-rps 10 -o json | jq .path
  skein tap --tcp --open --to stock

A request between two sidecars is shown twice: → out where it leaves, ← in where it comes in; both have its request id. Credentials are
never shown: authorization, cookies, tokens in headers and queries read [redacted]. A sidecar that restarts is tapped again; how long nothing
was seen of it is told. It needs the role write and is in the audit log.
Exit codes: 0 ended as asked or by Ctrl-C, 1 no sidecar could be tapped or all were lost, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'tap',
  summary: 'show requests as they end, live',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(
      program(),
      argv.map((a, i) => (a === '-n' && /^\d+$/.test(argv[i + 1] ?? '') ? '--count' : a)),
      async (names, options: Options) => {
        const { output } = options;
        if (output !== 'table' && output !== 'text' && output !== 'wide' && output !== 'json')
          throw new UsageError(`--output ${output}: one of text, wide, json`);
        const request = requestOf(options);
        const admin = new AdminClient(options.state);
        const all = (await admin.json('GET', '/v1/proxies')) as readonly ProxyEntry[];
        const chosen = proxiesOf(all, names, options.namespace);
        const tappable = chosen.filter((p) => isTappable(p));
        const others = chosen.filter((p) => !isTappable(p));
        if (chosen.length === 0)
          throw new AdminCallError(
            404,
            'NOT_FOUND',
            `no sidecar${options.namespace === undefined ? '' : ` of namespace ${options.namespace}`} is connected`,
            [],
          );
        if (others.length > 0) sayOfOthers(others, options);
        // Without headers nothing of an access log can match them.
        const logged = options.header.length > 0 ? [] : others;
        if (tappable.length + logged.length === 0) throw new AdminCallError(404, 'NOT_FOUND', 'there is no sidecar to tap', []);
        if (tappable.length > PROXIES_MAX)
          throw new UsageError(
            `${tappable.length} sidecars would be tapped, at most ${PROXIES_MAX}: name workloads, or a namespace with -n`,
          );
        await new Tapping(admin, request, output, waitOf(options.wait)).run(tappable, logged);
      },
    ),
};

const PROXIES_MAX = 64;

const say = (text: string): void => void process.stderr.write(`skein: ${text}\n`);

/** Stock Envoy has no tap that could be opened from outside; what its access log tells is shown instead, and what that lacks is said. */
const sayOfOthers = (others: readonly ProxyEntry[], { header, headers, tcp }: Options): void => {
  const kinds = [...new Set(others.map((p) => p.proxy || 'unknown'))].join(', ');
  const who = someOf(others.map((p) => `${p.name}.${p.namespace}`));
  if (header.length > 0)
    say(`${who} cannot be tapped (${kinds}): their access logs hold no headers to match, so their requests are left out`);
  else
    say(
      `${who} cannot be tapped (${kinds}): shown is what their access logs tell the control plane of requests, a second or so late, a sample when they are busy, without headers${headers === true ? ' (--headers shows none of them)' : ''}${tcp === true ? ', and no TCP connections' : ''}`,
    );
};

const proxiesOf = (all: readonly ProxyEntry[], names: readonly string[], namespace: string | undefined): readonly ProxyEntry[] => {
  const inNamespace = all.filter((p) => namespace === undefined || p.namespace === namespace);
  if (names.length === 0) return inNamespace;
  const found = names.flatMap((name) => {
    const replicas = inNamespace.filter((p) => isReplicaOf(p, name));
    return replicas.length > 0 ? replicas : [findProxy(inNamespace, name)];
  });
  return [...new Set(found)];
};

/** Of a workload all replicas are tapped. */
const isReplicaOf = (p: ProxyEntry, name: string): boolean => {
  const workload = p.name.replace(/-[^-]+$/, '');
  return [p.name, `${p.name}.${p.namespace}`, workload, `${workload}.${p.namespace}`].includes(name);
};

const wholeNumber = (option: string, text: string, least: number, most: number): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new UsageError(`${option} ${text}: a number from ${least} to ${most}`);
  return value;
};

const SIDES: Readonly<Record<string, 'inbound' | 'outbound'>> = {
  inbound: 'inbound',
  in: 'inbound',
  destination: 'inbound',
  outbound: 'outbound',
  out: 'outbound',
  source: 'outbound',
};

interface Asked {
  readonly match: RecentMatch & { readonly headers?: readonly object[] | undefined };
  readonly maxPerSecond: number;
  readonly count: number;
  readonly seconds: number;
  readonly tcp?: true;
  readonly open?: true;
  readonly withHeaders: boolean;
  readonly redact: { readonly headers: readonly string[]; readonly query: readonly string[] };
}

const requestOf = (o: Options): Asked => {
  refuseTexts(o);
  if (o.open === true && o.tcp !== true) throw new UsageError('--open is of TCP connections: say --tcp too');
  const direction = o.proxySide === undefined ? undefined : SIDES[o.proxySide];
  if (o.proxySide !== undefined && direction === undefined) throw new UsageError(`--proxy-side ${o.proxySide}: inbound or outbound`);
  for (const s of o.status) if (!/^(?:\d{3}|0|[1-5]xx)$/.test(s)) throw new UsageError(`--status ${s}: a code or a class, as 503 or 5xx`);
  const minDurationMs =
    o.minDuration === undefined ? undefined : wholeNumber('--min-duration', o.minDuration.replace(/ms$/, ''), 0, 3_600_000);
  const match = {
    from: o.from,
    to: o.to,
    path: o.path,
    pathPrefix: o.pathPrefix,
    method: o.method,
    authority: o.authority,
    direction,
    minDurationMs,
    status: o.status.length === 0 ? undefined : o.status,
    headers: o.header.length === 0 ? undefined : o.header.map(headerOf),
  };
  const seconds = windowSeconds('--for', o.for);
  if (seconds > 3600) throw new UsageError(`--for ${o.for}: at most 1h`);
  return {
    match,
    maxPerSecond: wholeNumber('--max-rps', o.maxRps, 1, 1000),
    count: wholeNumber('--count', o.count, 0, 1_000_000),
    seconds,
    // A sidecar of before takes no field that it does not know.
    ...(o.tcp === true ? { tcp: true } : {}),
    ...(o.open === true ? { open: true } : {}),
    withHeaders: o.headers === true,
    redact: { headers: o.redact, query: o.redact },
  };
};

const OF_REQUESTS = ['path', 'pathPrefix', 'method', 'authority'] as const;
const TEXT_CHARS_MAX = 1024;

/** What every sidecar would refuse is refused once, here. */
const refuseTexts = (o: Options): void => {
  for (const name of [...OF_REQUESTS, 'from', 'to'] as const) {
    const flag = `--${name.replace(/[A-Z]/, (c) => `-${c.toLowerCase()}`)}`;
    const value = o[name];
    if (value !== undefined && (value === '' || value.length > TEXT_CHARS_MAX))
      throw new UsageError(`${flag}: a text of 1 to ${TEXT_CHARS_MAX} characters`);
    if (value !== undefined && name.startsWith('path') && !value.startsWith('/'))
      throw new UsageError(`${flag} ${value}: paths begin with /`);
    if (name === 'path' && value?.includes('?') === true) throw new UsageError(`--path ${value}: without its query`);
  }
  const ofRequests = OF_REQUESTS.some((name) => o[name] !== undefined) || o.status.length > 0 || o.header.length > 0;
  if (o.tcp === true && ofRequests)
    throw new UsageError(
      'a TCP connection has no path, method, status, header or authority: --tcp goes with --from, --to, --proxy-side and --min-duration',
    );
};

const waitOf = (text: string): number => (/^0(?:s|m)?$/.test(text) ? 0 : windowSeconds('--wait', text) * 1000);

const headerOf = (text: string): object => {
  const at = text.search(/[:=]/);
  const name = (at < 0 ? text : text.slice(0, at)).trim();
  if (!/^[!#-'*+.^-z|~-]+$/.test(name)) throw new UsageError(`--header ${text}: NAME, or NAME:VALUE`);
  return at < 0 ? { name } : { name, value: text.slice(at + 1).trim() };
};

/** All taps of one command. */
class Tapping {
  readonly #admin: AdminClient;
  readonly #request: Asked;
  readonly #output: string;
  readonly #waitMs: number;
  readonly #over = new AbortController();
  #shown = 0;
  readonly #losses = new TapLosses(say);

  constructor(admin: AdminClient, request: Asked, output: string, waitMs: number) {
    this.#admin = admin;
    this.#request = request;
    this.#output = output;
    this.#waitMs = waitMs;
  }

  /** `others`: of which only access logs tell. */
  async run(proxies: readonly ProxyEntry[], others: readonly ProxyEntry[]): Promise<void> {
    const interrupted = untilInterrupted();
    interrupted.addEventListener('abort', () => this.#over.abort());
    if (process.stderr.isTTY)
      say(`tapping ${proxies.length === 1 ? `${proxies[0]?.name}.${proxies[0]?.namespace}` : `${proxies.length} sidecars`}, Ctrl-C ends`);
    const logs = others.length === 0 ? [] : [this.#follow(others)];
    const taps = this.#attachments(proxies);
    const [held] = await Promise.all([Promise.all(taps.map((tap) => tap.run())), ...logs]);
    this.#losses.flush();
    const skipped = taps.reduce((sum, tap) => sum + tap.skipped, 0);
    if (skipped > 0) say(`${this.#shown} shown; ${skipped} more matched and were over the rate (--max-rps)`);
    if (held.length > 0 && !held.includes(true)) process.exitCode = EXIT_FAILED;
  }

  #attachments(proxies: readonly ProxyEntry[]): readonly TapAttachment[] {
    const { seconds, ...request } = this.#request;
    const common = {
      admin: this.#admin,
      request,
      untilMs: Date.now() + seconds * 1000,
      waitMs: this.#waitMs,
      returns: new TapReturns(this.#admin),
      show: (shown: TappedRequest | TappedConnection) => this.#show(shown),
      say: (who: string, what: string) => this.#losses.add(who, what),
      signal: this.#over.signal,
    };
    return proxies.map((proxy) => new TapAttachment({ ...common, proxy }));
  }

  async #follow(others: readonly ProxyEntry[]): Promise<void> {
    const timer = setTimeout(() => this.#over.abort(), this.#request.seconds * 1000);
    const names = new Set(others.map((p) => `${p.name}.${p.namespace}`));
    const show = (r: Recent): void =>
      this.#show({ ...r, side: r.reporter === 'destination' ? 'inbound' : 'outbound', mtls: null, grpcStatus: null, upstream: '' });
    try {
      await followRecent(this.#admin, names, this.#request.match, show, this.#over.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  #show(request: TappedRequest | TappedConnection): void {
    // What came in the same moment as the last that was asked for.
    if (this.#over.signal.aborted) return;
    const { colours } = look();
    if (this.#output === 'json') process.stdout.write(`${JSON.stringify(request)}\n`);
    else process.stdout.write(shownAs(request, this.#output === 'wide', colours));
    this.#shown++;
    const { count } = this.#request;
    if (count > 0 && this.#shown >= count) this.#over.abort();
  }
}

const shownAs = (shown: TappedRequest | TappedConnection, wide: boolean, colours: boolean): string => {
  if ('event' in shown) return wide ? connectionBlock(shown, colours) : connectionLine(shown, colours);
  return wide ? requestBlock(shown, colours) : requestLine(shown, colours);
};
