// `skein control-plane`: the control plane as a process of its own.
import type { Command } from 'commander';
import { parseDuration } from '../api/values/duration-text.ts';
import { createLog, type LogLevel } from '../base/log.ts';
import { CaMaterialError } from '../control/ca/material.ts';
import { ControlPlaneError, DEBOUNCE_DEFAULT, startControlPlane } from '../control/control-plane.ts';
import { PIPELINE } from '../control/pipeline.ts';
import { REGISTRATION_TIMES, type RegistrationTimes } from '../control/registration/registrations.ts';
import { MeshSettingsError } from '../control/sources/mesh-settings-file.ts';
import { stateFolder } from '../local/state.ts';
import { AuthorityFlagError, type AuthorityFlags, authoritySettings, withAuthorityOptions } from './authority-flags.ts';
import { newCommand, runCommand } from './command-line.ts';
import { type DoorFlags, doorSettings, withDoorOptions } from './door-flags.ts';
import { packageVersion } from './package-version.ts';

interface Options extends AuthorityFlags, DoorFlags {
  readonly config: readonly string[];
  readonly meshConfig?: string;
  readonly xds: readonly string[];
  readonly state?: string;
  readonly insecure: boolean;
  readonly admin?: string;
  readonly caDir?: string;
  readonly caSigner?: string;
  readonly caSignerRoots?: string;
  readonly trustBundle: readonly string[];
  readonly debounce?: string;
  readonly registrationGrace?: string;
  readonly telemetry: boolean;
  readonly prometheus?: string;
  readonly logLevel: string;
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warning', 'error', 'off'];
/** Where istiod serves plaintext xDS, on this machine only. */
const INSECURE_DEFAULT = '127.0.0.1:15010';

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = (): Command =>
  newCommand('control-plane', 'Run the control plane: watch a folder of YAML, serve xDS, sign certificates.')
    .option('--config <dir>', 'folder of YAML to watch; may be repeated', collect, [])
    .option('--mesh-config <file>', "Istio's MeshConfig; defaults when absent")
    .option(
      '--xds <address>',
      `where to serve xDS: unix:PATH, tls:HOST:PORT (for who proves who it is) or HOST:PORT; may be repeated (default: unix:STATE/xds.sock, with --insecure ${INSECURE_DEFAULT})`,
      collect,
      [],
    )
    .option('--state <dir>', 'state folder (env SKEIN_STATE)')
    .option('--insecure', 'serve plaintext xDS to any client on TCP ports, without tokens', false)
    .option('--admin <address>', 'where to serve the admin API: unix:PATH (default: unix:STATE/admin.sock)')
    .option('--ca-dir <dir>', "signing certificate in the layout of Istio's cacerts (default: an own root in STATE/ca)")
    .option('--ca-signer <command>', 'sign with this command: request on standard input, chain on standard output')
    .option('--ca-signer-roots <file>', "roots (PEM) that the signer's certificates chain to")
    .option(
      '--trust-bundle <[name=]file>',
      'roots (PEM) of another trust domain that workloads trust, with its name for names of that trust domain alone; may be repeated',
      collect,
      [],
    )
    .option(
      '--debounce <ms,ms>',
      `quiet and longest wait before a change is pushed (env SKEIN_DEBOUNCE; default: ${DEBOUNCE_DEFAULT.quietMs},${DEBOUNCE_DEFAULT.maxMs})`,
    )
    .option(
      '--registration-grace <duration>',
      'how long the entry of a registered workload stays without it (env PILOT_WORKLOAD_ENTRY_GRACE_PERIOD; default: 10s)',
    )
    .option('--no-telemetry', 'keep no summaries of what sidecars tell (see `skein top`, `skein edges`)')
    .option('--prometheus <url>', 'a Prometheus that scrapes the mesh: summaries are asked of it instead of being kept here')
    .option('--log-level <level>', LEVELS.join(', '), 'info')
    .addHelpText(
      'after',
      `
Examples:
  skein control-plane --config mesh/                          serve the sidecars of this machine
  skein control-plane --config mesh/ --insecure               serve ADS in plaintext on ${INSECURE_DEFAULT} to any client
  skein control-plane --config mesh/ --ca-dir cacerts/        sign with your own intermediate certificate

Exit codes: 0 stopped by a signal or by request, 1 it cannot start, 2 wrong usage.`,
    );

const parseDebounce = (text: string | undefined): { readonly quietMs: number; readonly maxMs: number } => {
  if (text === undefined) return DEBOUNCE_DEFAULT;
  const [quietMs = Number.NaN, maxMs = quietMs] = text.split(',').map(Number);
  if (!(quietMs >= 0) || !(maxMs >= quietMs))
    throw new ControlPlaneError(`--debounce ${text}: give two numbers of milliseconds, as 10,100`);
  return { quietMs, maxMs };
};

/** After a restart workloads have longer: an agent of Istio's waits up to half a minute before it tries again. */
const parseGrace = (text: string | undefined): RegistrationTimes => {
  if (text === undefined || text === '') return REGISTRATION_TIMES;
  const nanoseconds = parseDuration(text);
  if (nanoseconds === undefined || nanoseconds < 0n) throw new ControlPlaneError(`--registration-grace ${text}: give a duration, as 10s`);
  const graceMs = Number(nanoseconds / 1_000_000n);
  return { graceMs, returnMs: Math.max(graceMs, REGISTRATION_TIMES.returnMs) };
};

const addresses = (options: Options, state: string): readonly string[] => {
  if (options.xds.length > 0) return options.xds;
  return options.insecure ? [`unix:${state}/xds.sock`, INSECURE_DEFAULT] : [`unix:${state}/xds.sock`];
};

const serve = async (options: Options): Promise<void> => {
  const level = LEVELS.find((l) => l === options.logLevel);
  if (level === undefined) throw new ControlPlaneError(`--log-level ${options.logLevel}: one of ${LEVELS.join(', ')}`);
  if (options.admin !== undefined && !options.admin.startsWith('unix:')) throw new ControlPlaneError('--admin must be unix:PATH');
  // Sockets are made before their mode can be set: nobody else may connect in between.
  process.umask(0o077);
  const state = stateFolder(options.state, process.env);
  const controlPlane = await startControlPlane({
    folders: options.config,
    meshConfigFile: options.meshConfig,
    stateDir: state,
    xds: addresses(options, state),
    insecure: options.insecure,
    adminSocket: options.admin?.slice('unix:'.length),
    caDir: options.caDir,
    ...doorSettings(options),
    authority: { ...authoritySettings(options), ...signerOf(options), bundleFiles: options.trustBundle },
    withoutTelemetry: !options.telemetry,
    ...prometheusOf(options),
    version: packageVersion(),
    debounce: parseDebounce(options.debounce ?? process.env['SKEIN_DEBOUNCE']),
    registration: parseGrace(options.registrationGrace ?? process.env['PILOT_WORKLOAD_ENTRY_GRACE_PERIOD']),
    pipeline: PIPELINE,
    log: createLog(
      'control-plane',
      (line) => process.stderr.write(line),
      () => new Date(),
      { value: level },
    ),
    now: Date.now,
  });
  const stopped = Promise.race([controlPlane.shutdownAsked, signalled()]);
  const admin = [`unix:${controlPlane.adminSocket}`, ...controlPlane.adminPorts].join(' ');
  process.stdout.write(`control plane ready: xds ${controlPlane.xds.join(' ')} admin ${admin}\n`);
  await stopped;
  await controlPlane.close();
  process.exit(0);
};

const prometheusOf = ({ prometheus }: Options) => {
  if (prometheus === undefined) return {};
  if (!/^https?:$/.test(URL.parse(prometheus)?.protocol ?? ''))
    throw new ControlPlaneError(`--prometheus ${prometheus}: give a URL, as http://127.0.0.1:9090`);
  return { prometheus };
};

const signerOf = ({ caSigner, caSignerRoots }: Options) => {
  if (caSigner === undefined) return {};
  if (caSignerRoots === undefined) throw new AuthorityFlagError('--ca-signer needs --ca-signer-roots: what its certificates chain to');
  return { signer: { command: caSigner, rootsFile: caSignerRoots } };
};

const signalled = (): Promise<void> =>
  new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });

export const command = {
  name: 'control-plane',
  summary: 'run the control plane',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(withDoorOptions(withAuthorityOptions(program())), argv, async (_operands, options: Options) => {
      try {
        await serve(options);
      } catch (error) {
        if (
          !(
            error instanceof ControlPlaneError ||
            error instanceof AuthorityFlagError ||
            error instanceof CaMaterialError ||
            error instanceof MeshSettingsError
          )
        )
          throw error;
        process.stderr.write(`skein: ${error.message}\n`);
        process.exitCode = 1;
      }
    }),
};
