// Flags of `skein proxy`, which takes Envoy's command line. Hand-written: a sidecar's start has no room for a
// command-line library. Every flag of Envoy is known; those that change nothing here are accepted.

export interface ProxyFlags {
  readonly configPath: string | undefined;
  readonly configYaml: string | undefined;
  readonly baseId: number;
  readonly logLevel: string;
  readonly logPath: string | undefined;
  readonly serviceNode: string | undefined;
  readonly serviceCluster: string | undefined;
  /** Undefined: not given. */
  readonly drainTimeS: number | undefined;
  readonly drainStrategy: 'gradual' | 'immediate';
  /** How long this process lives on after a successor has taken over. */
  readonly parentShutdownTimeS: number;
  readonly hotRestart: boolean;
  /** Where a supervisor is told of a new main process. */
  readonly notifyFd: number | undefined;
  readonly logFlushMs: number | undefined;
  readonly adminAddressPath: string | undefined;
  readonly mode: 'serve' | 'validate' | 'init_only';
  readonly concurrency: number;
  readonly rejectUnknownDynamicFields: boolean;
  readonly version: boolean;
  readonly help: boolean;
}

/** Wrong usage: the message names the flag. */
export class UsageError extends Error {}

const SHORT: { readonly [flag: string]: string } = { '-c': '--config-path', '-l': '--log-level', '-h': '--help' };
const ALIASES: { readonly [flag: string]: string } = { '--log-file': '--log-path' };
const SWITCHES = new Set([
  '--help',
  '--version',
  '--disable-hot-restart',
  '--use-dynamic-base-id',
  '--reject-unknown-dynamic-fields',
  '--ignore-unknown-dynamic-fields',
  '--allow-unknown-fields',
  '--allow-unknown-static-fields',
  '--cpuset-threads',
  '--enable-mutex-tracing',
  '--enable-fine-grain-logging',
  '--enable-core-dump',
  '--skip-deprecated-logs',
  '--skip-hot-restart-on-no-parent',
  '--skip-hot-restart-parent-stats',
  '--hot-restart-version',
  '--log-format-escaped',
]);
const VALUES = new Set([
  '--config-path',
  '--config-yaml',
  '--base-id',
  '--base-id-path',
  '--concurrency',
  '--log-level',
  '--component-log-level',
  '--log-format',
  '--log-path',
  '--service-node',
  '--service-cluster',
  '--service-zone',
  '--drain-time-s',
  '--drain-strategy',
  '--parent-shutdown-time-s',
  '--admin-address-path',
  '--mode',
  '--notify-fd',
  '--restart-epoch',
  '--local-address-ip-version',
  '--file-flush-interval-msec',
  '--file-flush-min-size-kb',
  '--disable-extensions',
  '--socket-path',
  '--socket-mode',
  '--stats-tag',
]);

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'warn', 'error', 'critical', 'off'];
const DRAIN_STRATEGIES = ['gradual', 'immediate'] as const;
const MODES = ['serve', 'validate', 'init_only'] as const;

/** Throws UsageError. */
export const parseProxyFlags = (argv: readonly string[]): ProxyFlags => {
  const values = readFlags(argv);
  const oneOf = <T extends string>(flag: string, allowed: readonly T[], otherwise: T): T => {
    const v = values.get(flag);
    if (v === undefined) return otherwise;
    const found = allowed.find((a) => a === v);
    if (found === undefined) throw new UsageError(`${flag}: "${v}" is none of ${allowed.join(', ')}`);
    return found;
  };
  const whole = (flag: string, otherwise: number): number => {
    const v = values.get(flag);
    if (v === undefined) return otherwise;
    if (!/^\d{1,9}$/.test(v)) throw new UsageError(`${flag}: "${v}" is not a whole number`);
    return Number(v);
  };
  if (whole('--restart-epoch', 0) > 0)
    throw new UsageError('--restart-epoch: a running process starts its successor itself and counts the epochs: send it SIGUSR2');
  return {
    configPath: values.get('--config-path'),
    configYaml: values.get('--config-yaml'),
    baseId: whole('--base-id', 0),
    logLevel: oneOf('--log-level', LOG_LEVELS, 'info'),
    logPath: values.get('--log-path'),
    serviceNode: values.get('--service-node'),
    serviceCluster: values.get('--service-cluster'),
    drainTimeS: values.has('--drain-time-s') ? whole('--drain-time-s', 0) : undefined,
    drainStrategy: oneOf('--drain-strategy', DRAIN_STRATEGIES, 'immediate'),
    parentShutdownTimeS: whole('--parent-shutdown-time-s', 900),
    hotRestart: !values.has('--disable-hot-restart'),
    notifyFd: values.has('--notify-fd') ? whole('--notify-fd', 0) : undefined,
    logFlushMs: values.has('--file-flush-interval-msec') ? whole('--file-flush-interval-msec', 0) : undefined,
    adminAddressPath: values.get('--admin-address-path'),
    mode: oneOf('--mode', MODES, 'serve'),
    concurrency: whole('--concurrency', 1),
    rejectUnknownDynamicFields: values.has('--reject-unknown-dynamic-fields'),
    version: values.has('--version'),
    help: values.has('--help'),
  };
};

const readFlags = (argv: readonly string[]): Map<string, string> => {
  const out = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    const [given = '', ...inline] = arg.split('=');
    const long = SHORT[given] ?? ALIASES[given] ?? given;
    if (SWITCHES.has(long)) {
      if (inline.length > 0) throw new UsageError(`${given} takes no value`);
      out.set(long, '');
    } else if (VALUES.has(long)) {
      const value = inline.length > 0 ? inline.join('=') : argv[++i];
      if (value === undefined) throw new UsageError(`${given} needs a value`);
      out.set(long, value);
    } else throw new UsageError(`unknown option ${arg}`);
  }
  return out;
};
