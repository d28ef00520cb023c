// The admin API as one function from request to response: the same behind the loopback port and behind the operator's
// stream of the agent. Paths, texts and refusals are Envoy's.
import { X509Certificate } from 'node:crypto';
import type { LogLevel } from '../../base/log.ts';
import type { CertificateDetails, SubjectAlternateName } from '../../xds/gen/types.ts';
import { toJson } from '../../xds/json.ts';
import { msDuration } from '../../xds/well-known.ts';
import { type AdminContext, type AdminRequest, type AdminResponse, addressOf, json, text } from './admin-context.ts';
import { clustersPage } from './clusters-page.ts';
import { configDump } from './config-dump.ts';
import { prometheusPage, statsPage } from './stats-page.ts';

interface Page {
  readonly help: string;
  /** Changes something: POST only. */
  readonly mutates?: boolean;
  readonly serve: (context: AdminContext, query: URLSearchParams) => AdminResponse;
}

const PAGES: { readonly [path: string]: Page } = {
  '/certs': { help: 'print certs on machine', serve: (c) => certsPage(c) },
  '/clusters': { help: 'upstream cluster status', serve: clustersPage },
  '/config_dump': { help: 'dump current Envoy configs (experimental)', serve: configDump },
  '/drain_listeners': {
    help: 'drain listeners',
    mutates: true,
    serve: (c) => {
      c.drainListeners();
      return text('OK\n');
    },
  },
  '/healthcheck/fail': { help: 'cause the server to fail health checks', mutates: true, serve: (c) => health(c, true) },
  '/healthcheck/ok': { help: 'cause the server to pass health checks', mutates: true, serve: (c) => health(c, false) },
  '/help': { help: 'print out list of admin commands', serve: () => text(`admin commands are:\n${helpText()}`) },
  '/hot_restart_version': { help: 'print the hot restart compatibility version', serve: () => text('disabled') },
  '/listeners': { help: 'print listener info', serve: (c, q) => listenersPage(c, q) },
  '/logging': { help: 'query/change logging levels', serve: (c, q) => loggingPage(c, q) },
  '/memory': { help: 'print current allocation/heap usage', serve: () => memoryPage() },
  '/quitquitquit': {
    help: 'exit the server',
    mutates: true,
    serve: (c) => {
      c.quit();
      return text('OK\n');
    },
  },
  '/ready': {
    help: 'print server state, return 200 if LIVE, otherwise return 503',
    serve: (c) => text(`${c.state()}\n`, c.state() === 'LIVE' ? 200 : 503),
  },
  '/reopen_logs': {
    help: 'reopen access logs',
    mutates: true,
    serve: (c) => {
      c.reopenLogs();
      return text('OK\n');
    },
  },
  '/reset_counters': {
    help: 'reset all counters to zero',
    mutates: true,
    serve: (c) => {
      c.dataPlane.stats.resetCounters();
      return text('OK\n');
    },
  },
  '/runtime': { help: 'print runtime values', serve: (c) => runtimePage(c) },
  '/server_info': { help: 'print server version/status information', serve: (c) => serverInfo(c) },
  '/stats': { help: 'print server stats', serve: statsPage },
  '/stats/prometheus': { help: 'print server stats in prometheus format', serve: prometheusPage },
};

const helpText = (): string =>
  Object.entries(PAGES)
    .map(([path, { help, mutates }]) => `  ${path}${mutates ? ' (POST)' : ''}: ${help}\n`)
    .join('');

/** Answers one request. Never throws for what a client sends. */
export const handleAdmin = (context: AdminContext, request: AdminRequest): AdminResponse => {
  const url = new URL(request.path, 'http://admin');
  if (url.pathname === '/') return text(`admin commands are:\n${helpText()}`);
  const page = Object.hasOwn(PAGES, url.pathname) ? PAGES[url.pathname] : undefined;
  if (!page) return text(`invalid path. admin commands are:\n${helpText()}`, 404);
  if (page.mutates && request.method !== 'POST') {
    return text(`Method ${request.method} not allowed, POST required.`, 405);
  }
  if (!page.mutates && !['GET', 'POST', 'HEAD'].includes(request.method)) return text('Method Not Allowed', 405);
  for (const [k, v] of new URLSearchParams(request.body)) if (!url.searchParams.has(k)) url.searchParams.set(k, v);
  return page.serve(context, url.searchParams);
};

const health = (context: AdminContext, failed: boolean): AdminResponse => {
  context.setHealthFailed(failed);
  return text('OK\n');
};

const listenersPage = ({ dataPlane }: AdminContext, query: URLSearchParams): AdminResponse => {
  const listeners = [...dataPlane.listeners()].filter((l) => l.warm);
  if (query.get('format') !== 'json') return text(listeners.map((l) => `${l.name}::${l.localAddress}\n`).join(''));
  const statuses = listeners.map((l) => ({ name: l.name, local_address: addressOf(l.localAddress) }));
  return json(toJson('envoy.admin.v3.Listeners', { listener_statuses: statuses }));
};

/** Envoy's level names over ours. */
const LEVELS: { readonly [name: string]: LogLevel } = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warning: 'warning',
  warn: 'warning',
  error: 'error',
  critical: 'error',
  off: 'off',
};

const loggingPage = ({ log }: AdminContext, query: URLSearchParams): AdminResponse => {
  const asked = query.get('level') ?? [...query].find(([, v]) => v in LEVELS)?.[1];
  if (asked !== undefined) {
    const level = LEVELS[asked];
    if (!level)
      return text(`error: invalid logger level: ${asked}\nusage: /logging?level=<level>\nlevels: ${Object.keys(LEVELS).join(' ')}\n`, 400);
    log.level.value = level;
  } else if (query.size > 0) return text('usage: /logging?level=<level>\n', 400);
  return text(`active loggers:\n  all: ${log.level.value}\n`);
};

const memoryPage = (): AdminResponse => {
  const { heapUsed, heapTotal, rss } = process.memoryUsage();
  return json(toJson('envoy.admin.v3.Memory', { allocated: heapUsed, heap_size: heapTotal, total_physical_bytes: rss }));
};

const runtimePage = ({ bootstrap }: AdminContext): AdminResponse => {
  const layers = bootstrap.layered_runtime?.layers ?? [];
  const entries: { [key: string]: { layer_values: string[]; final_value: string } } = {};
  layers.forEach((layer, i) => {
    for (const [key, value] of Object.entries(layer.static_layer ?? {})) {
      entries[key] ??= { layer_values: layers.map(() => ''), final_value: '' };
      entries[key].layer_values[i] = String(value);
      entries[key].final_value = String(value);
    }
  });
  return json({ layers: layers.map((l) => l.name ?? ''), entries });
};

const serverInfo = (context: AdminContext): AdminResponse => {
  const uptime = msDuration(Math.floor((context.clock.wallMs() - context.startedAtMs) / 1000) * 1000);
  const info = toJson('envoy.admin.v3.ServerInfo', {
    version: context.version,
    uptime_current_epoch: uptime,
    uptime_all_epochs: uptime,
    hot_restart_version: 'disabled',
    command_line_options: context.commandLine,
    node: context.bootstrap.node,
  });
  // Envoy prints the state even when it is the zero value (LIVE).
  return json({ version: info['version'], state: context.state(), ...info });
};

const certsPage = ({ dataPlane, clock }: AdminContext): AdminResponse => {
  const certificates = [...dataPlane.secrets()].flatMap((secret) => {
    const chain = inline(secret.tls_certificate?.certificate_chain);
    const roots = inline(secret.validation_context?.trusted_ca);
    if (chain === '' && roots === '') return [];
    return [{ cert_chain: details(chain, clock.wallMs()), ca_cert: details(roots, clock.wallMs()) }];
  });
  return json(toJson('envoy.admin.v3.Certificates', { certificates }));
};

const inline = (
  source: { readonly inline_string?: string | undefined; readonly inline_bytes?: Uint8Array | undefined } | undefined,
): string => source?.inline_string ?? (source?.inline_bytes ? Buffer.from(source.inline_bytes).toString('utf8') : '');

const details = (pem: string, nowMs: number): CertificateDetails[] =>
  [...pem.matchAll(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g)].flatMap(([one]) => {
    try {
      const c = new X509Certificate(one);
      const until = Date.parse(c.validTo);
      return [
        {
          path: '<inline>',
          serial_number: c.serialNumber.toLowerCase(),
          subject_alt_names: alternateNames(c.subjectAltName ?? ''),
          days_until_expiration: Math.max(0, Math.floor((until - nowMs) / 86_400_000)),
          valid_from: new Date(c.validFrom).toISOString(),
          expiration_time: new Date(until).toISOString(),
        },
      ];
    } catch {
      return []; // a certificate that cannot be read was refused where it would be used
    }
  });

const alternateNames = (names: string): SubjectAlternateName[] =>
  names.split(', ').flatMap((entry): SubjectAlternateName[] => {
    const at = entry.indexOf(':');
    const value = entry.slice(at + 1);
    const kind = entry.slice(0, at);
    return kind === 'URI' ? [{ uri: value }] : kind === 'DNS' ? [{ dns: value }] : kind === 'IP Address' ? [{ ip_address: value }] : [];
  });
