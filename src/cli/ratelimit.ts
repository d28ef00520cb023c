// `skein ratelimit`: the shared rate-limit server. Envoy's RateLimitService over gRPC, its limits from a watched folder in the format
// of envoyproxy/ratelimit, its counts in Redis.
import type { AddressInfo } from 'node:net';
import type { Command } from 'commander';
import { createLog, type LogLevel } from '../base/log.ts';
import { MetricRegistry } from '../base/metrics.ts';
import { GrpcServer } from '../control/xds/grpc-server.ts';
import { problemText } from '../ratelimit/config-document.ts';
import { ConfigFolder } from '../ratelimit/config-folder.ts';
import type { Counters } from '../ratelimit/counters.ts';
import { servePages } from '../ratelimit/http-pages.ts';
import { LimitMetrics } from '../ratelimit/limit-metrics.ts';
import { MemoryCounters } from '../ratelimit/memory-counters.ts';
import { RedisCounters } from '../ratelimit/redis-counters.ts';
import { CountersProblem, RateLimitService, RequestProblem } from '../ratelimit/service.ts';
import { GRPC, type GrpcStatus } from '../wire/grpc-frames.ts';
import { CodecError } from '../xds/codec.ts';
import { newCommand, runCommand, UsageError } from './command-line.ts';
import { type UnaryMethod, unary } from './unary-grpc.ts';

interface Options {
  readonly config?: string;
  readonly redis?: string;
  readonly listen: string;
  readonly metrics: string;
  readonly redisTimeout: string;
  readonly jitter: string;
  readonly localCache: string;
  readonly nearLimit: string;
  readonly responseHeaders: boolean;
  readonly shadow: boolean;
  readonly keyPrefix: string;
  readonly logLevel: string;
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warning', 'error', 'off'];
const MESSAGE_BYTES_MAX = 256 * 1024;
const SHOULD_RATE_LIMIT = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';
const HEALTH_CHECK = '/grpc.health.v1.Health/Check';
/** HealthCheckResponse{status}: SERVING, NOT_SERVING. */
const SERVING = Uint8Array.of(0x08, 1);
const NOT_SERVING = Uint8Array.of(0x08, 2);

const program = (): Command =>
  newCommand('ratelimit', 'Run the shared rate-limit server: limits that hold over all sidecars together, counted in Redis.')
    .option('--config <dir>', 'folder of YAML in the format of envoyproxy/ratelimit, watched (env SKEIN_RATELIMIT_CONFIG)')
    .option('--redis <url>', 'redis://[user:password@]host:port[/db], rediss://…, or `memory` for this process alone (env REDIS_URL)')
    .option('--listen <address>', 'where to serve gRPC: HOST:PORT', '127.0.0.1:8081')
    .option('--metrics <address>', 'where to serve /metrics, /healthcheck, /rlconfig and /json: HOST:PORT, or `off`', '127.0.0.1:6070')
    .option('--redis-timeout <ms>', 'longest wait for Redis', '200')
    .option('--jitter <seconds>', 'keys in Redis live up to so many seconds longer', '0')
    .option('--local-cache <keys>', 'keys known to be over their limit that are not asked about again; 0: none', '10000')
    .option('--near-limit <ratio>', 'share of a limit from which on a hit counts as near it', '0.8')
    .option('--response-headers', 'answer with RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset', false)
    .option('--shadow', 'count everything and refuse nothing', false)
    .option('--key-prefix <text>', 'in front of every key in Redis', '')
    .option('--log-level <level>', LEVELS.join(', '), 'info')
    .addHelpText(
      'after',
      `
Examples:
  skein ratelimit --config limits/ --redis redis://127.0.0.1:6379         limits for all sidecars
  skein ratelimit --config limits/ --redis memory                         without Redis, for one server
  curl -d '{"domain":"shop","descriptors":[{"entries":[{"key":"user","value":"ann"}]}]}' 127.0.0.1:6070/json

While Redis is away every call is answered UNAVAILABLE at once: what happens to requests then is failure_mode_deny's to say.
A configuration with problems is told with file and line, and the last good one stays in force.

Exit codes: 0 stopped by a signal, 1 it cannot start, 2 wrong usage.`,
    );

const address = (text: string, flag: string): { readonly host: string; readonly port: number } => {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) throw new UsageError(`${flag} ${text}: give HOST:PORT`);
  return { host: match[1] ?? (match[2] === '' || match[2] === undefined ? '0.0.0.0' : match[2]), port: Number(match[3]) };
};

const number = (text: string, flag: string, most: number): number => {
  const value = Number(text);
  if (text === '' || !(value >= 0) || value > most) throw new UsageError(`${flag} ${text}: give a number up to ${most}`);
  return value;
};

/** Refusals as statuses; anything else is a defect and is told by the server. */
const limitMethod =
  (service: RateLimitService): UnaryMethod =>
  async (message): Promise<Uint8Array | GrpcStatus> => {
    try {
      return await service.shouldRateLimit(message);
    } catch (problem) {
      if (problem instanceof RequestProblem || problem instanceof CodecError)
        return { code: GRPC.INVALID_ARGUMENT, message: problem.message };
      if (problem instanceof CountersProblem) return { code: GRPC.UNAVAILABLE, message: problem.message };
      throw problem;
    }
  };

const serve = async (options: Options): Promise<void> => {
  const level = LEVELS.find((l) => l === options.logLevel);
  if (level === undefined) throw new UsageError(`--log-level ${options.logLevel}: one of ${LEVELS.join(', ')}`);
  const root = options.config ?? process.env['SKEIN_RATELIMIT_CONFIG'];
  if (root === undefined) throw new UsageError('--config DIR is needed');
  const url = options.redis ?? process.env['REDIS_URL'];
  if (url === undefined) throw new UsageError('--redis URL is needed (or `--redis memory`)');
  const at = address(options.listen, '--listen');
  const pagesAt = options.metrics === 'off' ? undefined : address(options.metrics, '--metrics');
  const timeoutMs = number(options.redisTimeout, '--redis-timeout', 60_000);
  const log = createLog(
    'ratelimit',
    (line) => process.stderr.write(line),
    () => new Date(),
    { value: level },
  );
  const registry = new MetricRegistry();
  const metrics = new LimitMetrics(registry);
  const settings = {
    jitterSeconds: number(options.jitter, '--jitter', 86_400),
    localCacheKeys: number(options.localCache, '--local-cache', 10_000_000),
    nearRatio: number(options.nearLimit, '--near-limit', 1),
  };
  const counters: Counters =
    url === 'memory'
      ? new MemoryCounters(Date.now)
      : new RedisCounters({ url, timeoutMs, told: (what, why) => log.info(`Redis: connection ${what}`, why === '' ? {} : { why }) });
  const folder = new ConfigFolder(root, {
    changed: (domains) => {
      metrics.configLoads.value++;
      log.info('configuration taken', { domains: domains.size });
    },
    refused: (problems) => {
      metrics.configErrors.value++;
      for (const problem of problems) log.error(`configuration refused: ${problemText(problem)}`);
    },
  });
  const service = new RateLimitService({
    ...settings,
    domains: () => folder.domains,
    counters,
    metrics,
    now: Date.now,
    random: Math.random,
    responseHeaders: options.responseHeaders,
    shadow: options.shadow,
    keyPrefix: options.keyPrefix,
  });
  const server = new GrpcServer({
    methods: new Map([
      [SHOULD_RATE_LIMIT, unary(limitMethod(service))],
      [HEALTH_CHECK, unary(() => Promise.resolve(counters.ready ? SERVING : NOT_SERVING))],
    ]),
    messageBytesMax: MESSAGE_BYTES_MAX,
    now: () => performance.now(),
    failed: (problem) =>
      log.error('call failed', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : String(problem) }),
  });
  const pages =
    pagesAt === undefined ? undefined : servePages({ service, registry, domains: () => folder.domains, healthy: () => counters.ready });
  let grpcPort: number;
  try {
    grpcPort = await server.listen(at);
    if (pages !== undefined && pagesAt !== undefined) await listening(pages, pagesAt);
  } catch (problem) {
    process.stderr.write(`skein: ${problem instanceof Error ? problem.message : String(problem)}\n`);
    process.exit(1);
  }
  const pagesText = pages === undefined || pagesAt === undefined ? '' : ` metrics ${pagesAt.host}:${(pages.address() as AddressInfo).port}`;
  process.stdout.write(`rate-limit server ready: grpc ${at.host}:${grpcPort}${pagesText}\n`);
  await signalled();
  folder.close();
  pages?.close();
  await server.close();
  await counters.close();
  process.exit(0);
};

const listening = (server: ReturnType<typeof servePages>, at: { readonly host: string; readonly port: number }): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => resolve());
  });

const signalled = (): Promise<void> =>
  new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });

export const command = {
  name: 'ratelimit',
  summary: 'run the shared rate-limit server over Redis',
  run: (argv: readonly string[]): Promise<void> => runCommand(program(), argv, (_operands, options: Options) => serve(options)),
};
