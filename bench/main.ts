// npm run bench [-- --rounds 5 --seconds 5 --connections 32]: two hops of mTLS, HTTP/1.1, 1 kB answers, through what
// `skein up` starts, beside Envoy in the same places and nginx as a pair of relays. Rounds alternate; medians count.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../test/conformance/proxies.ts';
import { makeCertificates } from './certificates.ts';
import { cpuSeconds, machineSeconds, memoryMb } from './process-clock.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '..');
const SKEIN = join(ROOT, 'bin/skein');
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '32' },
    only: { type: 'string' },
  },
});
const ROUNDS = Number(values.rounds);

interface Contender {
  readonly name: string;
  /** Processes whose cost counts. */
  pids(): number[];
  /** The command that runs wrk where the load starts, and the URL to load. */
  readonly command: readonly string[];
  readonly url: string;
  stop(): void;
}
interface Round {
  readonly requests: number;
  readonly errors: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuPer10k: number;
  readonly rssMb: number;
  readonly privateMb: number;
  readonly foreignShare: number;
  readonly stolen: number;
}

const need = (program: string): void => {
  if (spawnSync('which', [program]).status !== 0) throw new Error(`${program} is not installed: run sh test/setup`);
};

const mesh = (name: string, work: string, args: readonly string[], env: Record<string, string>): Contender => {
  const dir = join(work, name);
  const state = join(work, `${name}-state`);
  cpSync(HERE, dir, { recursive: true });
  const skein = (...a: string[]): string => {
    const done = spawnSync(SKEIN, a, { encoding: 'utf8', env: { ...process.env, ...env, SKEIN_STATE: state }, timeout: 120_000 });
    if (done.status !== 0) throw new Error(`skein ${a.join(' ')}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  };
  skein('up', '-d', dir, ...args);
  const status = JSON.parse(skein('status', '-o', 'json')) as { workloads: { name: string; labels: Record<string, string> }[] };
  const client = status.workloads.find((w) => w.labels['app'] === 'client')?.name ?? '';
  const sidecars = (): number[] => {
    const { processes } = JSON.parse(readFileSync(join(state, 'run.json'), 'utf8')) as { processes: { kind: string; pid: number }[] };
    return processes.filter((p) => p.kind === 'sidecar').flatMap((p) => [p.pid, ...children(p.pid)]);
  };
  const dump = spawnSync(SKEIN, ['proxy-config', 'all', client, '-o', 'json'], {
    encoding: 'utf8',
    env: { ...process.env, SKEIN_STATE: state },
  });
  if (dump.status === 0) writeFileSync(join(HERE, `results/config-dump-${name}.json`), dump.stdout);
  return {
    name,
    pids: sidecars,
    command: ['env', `SKEIN_STATE=${state}`, SKEIN, 'exec', client, '--'],
    url: 'http://backend:8080/',
    stop: () => skein('down'),
  };
};

const children = (pid: number): number[] => {
  const listed = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    .stdout.split('\n')
    .map(Number)
    .filter((n) => n > 0);
  return listed.flatMap((child) => [child, ...children(child)]);
};

const nginxHops = (work: string): Contender => {
  const dir = join(work, 'nginx');
  mkdirSync(dir);
  makeCertificates(dir);
  const tls = (prefix: string): string =>
    `${prefix}_certificate ${dir}/leaf.pem; ${prefix}_certificate_key ${dir}/leaf-key.pem; ${prefix}_trusted_certificate ${dir}/ca.pem;`;
  const conf = (name: string, http: string): string[] => {
    const file = join(dir, `${name}.conf`);
    const log = `log_format json escape=json '{"m":"$request_method","p":"$request_uri","s":$status,"b":$body_bytes_sent,"d":$request_time,"u":"$upstream_addr"}'; access_log ${dir}/${name}.log json buffer=64k flush=1s;`;
    writeFileSync(
      file,
      `daemon off; worker_processes 1; pid ${dir}/${name}.pid; error_log ${dir}/${name}-error.log; events { worker_connections 1024; } http { ${log} keepalive_requests 1000000; ${http} }`,
    );
    return ['nginx', '-c', file, '-p', dir];
  };
  const out = conf(
    'out',
    `upstream s { server 127.0.0.1:19443; keepalive 64; keepalive_requests 1000000; } server { listen 127.0.0.1:19080; location / { proxy_pass https://s; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_name bench; proxy_ssl_verify on; proxy_ssl_protocols TLSv1.3; ${tls('proxy_ssl')} } }`,
  );
  const into = conf(
    'in',
    `upstream b { server 127.0.0.1:19081; keepalive 64; keepalive_requests 1000000; } server { listen 127.0.0.1:19443 ssl; ssl_certificate ${dir}/leaf.pem; ssl_certificate_key ${dir}/leaf-key.pem; ssl_client_certificate ${dir}/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.3; location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
  );
  const start = (command: readonly string[], env: Record<string, string> = {}) =>
    spawn(command[0] ?? '', command.slice(1), { stdio: 'ignore', env: { ...process.env, ...env } });
  const hops = [start(out), start(into)];
  const backend = start([process.execPath, join(HERE, 'backend.ts')], { PORT: '19081', HOST: '127.0.0.1' });
  return {
    name: 'nginx',
    pids: () => hops.flatMap((h) => [h.pid ?? 0, ...children(h.pid ?? 0)]),
    command: [],
    url: 'http://127.0.0.1:19080/',
    stop: () => {
      for (const child of [...hops, backend]) child.kill('SIGTERM');
    },
  };
};

const measure = (c: Contender): Round => {
  const pids = c.pids();
  const cpu = (): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const machine0 = machineSeconds();
  const cpu0 = cpu();
  const [program = 'wrk', ...args] = [...c.command, 'wrk', '-t1', `-c${values.connections}`, `-d${values.seconds}s`, '--latency', c.url];
  const started = performance.now();
  const done = spawnSync(program, args, { encoding: 'utf8' });
  const wall = (performance.now() - started) / 1000;
  if (done.status !== 0) throw new Error(`${c.name}: wrk: ${done.stdout}${done.stderr}`);
  const used = cpu() - cpu0;
  const machine1 = machineSeconds();
  const text = done.stdout;
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  const ms = (label: string): number => {
    const m = new RegExp(`${label}\\s+([\\d.]+)(us|ms|s)`).exec(text);
    return m ? Number(m[1]) * (m[2] === 'us' ? 0.001 : m[2] === 's' ? 1000 : 1) : 0;
  };
  const requests = number(/(\d+) requests in/);
  const memory = pids.map(memoryMb);
  return {
    requests,
    errors: number(/Non-2xx or 3xx responses: (\d+)/) + number(/Socket errors: connect (\d+)/),
    perSecond: number(/Requests\/sec:\s+([\d.]+)/),
    p50Ms: ms('50%'),
    p99Ms: ms('99%'),
    cpuPer10k: (used / requests) * 10_000,
    rssMb: memory.reduce((s, m) => s + m.rss, 0) / 2,
    privateMb: memory.reduce((s, m) => s + m.private, 0) / 2,
    foreignShare: Math.max(0, 1 - (machine1.busy - machine0.busy) / (wall * 2)),
    stolen: machine1.stolen - machine0.stolen,
  };
};

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

const table = (results: ReadonlyMap<string, readonly Round[]>): string => {
  const columns: readonly (readonly [string, (r: Round) => number, number])[] = [
    ['CPU s per 10,000', (r) => r.cpuPer10k, 2],
    ['requests/s', (r) => r.perSecond, 0],
    ['p50 ms', (r) => r.p50Ms, 2],
    ['p99 ms', (r) => r.p99Ms, 2],
    ['RSS MB a hop', (r) => r.rssMb, 0],
    ['private MB a hop', (r) => r.privateMb, 0],
    ['errors', (r) => r.errors, 0],
  ];
  const envoy = results.get('envoy');
  const base = envoy ? median(envoy.map((r) => r.cpuPer10k)) : undefined;
  const lines = [`| | ${columns.map(([n]) => n).join(' | ')} | CPU against Envoy |`, `|---|${columns.map(() => '---:').join('|')}|---:|`];
  for (const [name, rounds] of results) {
    const cells = columns.map(([, of, digits]) => median(rounds.map(of)).toFixed(digits));
    lines.push(`| ${name} | ${cells.join(' | ')} | ${base ? (median(rounds.map((r) => r.cpuPer10k)) / base).toFixed(2) : '-'} |`);
  }
  return lines.join('\n');
};

const main = async (): Promise<void> => {
  for (const program of ['wrk', 'nginx', 'openssl']) need(program);
  mkdirSync(join(HERE, 'results'), { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  const contenders: Contender[] = [];
  const wanted = (name: string): boolean => !values.only || values.only.split(',').includes(name);
  try {
    if (wanted('skein')) contenders.push(mesh('skein', work, ['--ingress', '127.0.0.1:19101'], {}));
    const envoy = envoyBinary();
    if (!envoy) process.stdout.write('Envoy: not run, there is no envoy binary (sh test/setup installs it)\n');
    else if (wanted('envoy')) contenders.push(mesh('envoy', work, ['--proxy', 'envoy', '--ingress', '127.0.0.1:19102'], { ENVOY: envoy }));
    if (wanted('nginx')) contenders.push(nginxHops(work));
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the peers' sockets open
    for (const c of contenders) measure(c); // warm-up
    const results = new Map<string, Round[]>(contenders.map((c) => [c.name, []]));
    for (let round = 1; round <= ROUNDS; round++) {
      for (const c of contenders) {
        const r = measure(c);
        results.get(c.name)?.push(r);
        process.stdout.write(
          `round ${round} ${c.name.padEnd(6)} ${r.perSecond.toFixed(0)}/s  ${r.cpuPer10k.toFixed(2)} CPU s per 10,000  p50 ${r.p50Ms} p99 ${r.p99Ms} ms${r.stolen > 0.1 ? `  (${r.stolen.toFixed(1)} s stolen)` : ''}\n`,
        );
      }
    }
    const text = table(results);
    process.stdout.write(
      `\nTwo hops, mTLS, HTTP/1.1, 1 kB, ${values.connections} connections; medians of ${ROUNDS} rounds of ${values.seconds} s.\n\n${text}\n`,
    );
    writeFileSync(join(HERE, 'results/two-hops.md'), `${text}\n`);
    writeFileSync(join(HERE, 'results/two-hops.json'), JSON.stringify(Object.fromEntries(results), null, 1));
  } finally {
    for (const c of contenders) c.stop();
    rmSync(work, { recursive: true, force: true });
  }
};

main().catch((error: Error) => {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exit(1);
});
