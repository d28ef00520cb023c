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
  readonly drainTimeS: number;
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
  return {
    configPath: values.get('--config-path'),
    configYaml: values.get('--config-yaml'),
    baseId: whole('--base-id', 0),
    logLevel: oneOf('--log-level', LOG_LEVELS, 'info'),
    logPath: values.get('--log-path'),
    serviceNode: values.get('--service-node'),
    serviceCluster: values.get('--service-cluster'),
    drainTimeS: whole('--drain-time-s', 5),
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
