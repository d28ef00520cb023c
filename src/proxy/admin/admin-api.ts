// The admin API as one function from request to response: the same behind the loopback port and behind the operator's
// stream of the agent. Paths, texts and refusals are Envoy's.
import { X509Certificate } from 'node:crypto';
import type { LogLevel } from '../../base/log.ts';
import type { CertificateDetails, Listener, SubjectAlternateName } from '../../xds/gen/types.ts';
import { toJson } from '../../xds/json.ts';
import { LISTENER_TYPE } from '../../xds/resource-types.ts';
import { msDuration } from '../../xds/well-known.ts';
import { rootSources } from '../transport/spiffe-bundles.ts';
import { type AdminContext, type AdminRequest, type AdminResponse, addressOf, json, text } from './admin-context.ts';
import { clustersPage } from './clusters-page.ts';
import { configDump } from './config-dump.ts';
import { prometheusPage, statsPage } from './stats-page.ts';

interface Page {
  readonly help: string;
  /** Changes something: POST only. */
  readonly mutates?: boolean;
  readonly serve: (context: AdminContext, query: URLSearchParams, method: string) => AdminResponse;
}

const PAGES: { readonly [path: string]: Page } = {
  '/certs': { help: 'print certs on machine', serve: (c) => certsPage(c) },
  '/clusters': { help: 'upstream cluster status', serve: clustersPage },
  '/config_dump': { help: 'dump current Envoy configs (experimental)', serve: configDump },
  '/contention': { help: 'dump mutex contention stats', serve: () => text('There are no mutexes here: one thread serves.\n') },
  '/drain_listeners': {
    help: 'drain listeners',
    mutates: true,
    serve: (c, q) => {
      const skipExit = q.has('skip_exit');
      c.drainListeners({ graceful: q.has('graceful') || skipExit, inboundOnly: q.has('inboundonly'), skipExit });
      return text('OK\n');
    },
  },
  '/healthcheck/fail': { help: 'cause the server to fail health checks', mutates: true, serve: (c) => health(c, true) },
  '/healthcheck/ok': { help: 'cause the server to pass health checks', mutates: true, serve: (c) => health(c, false) },
  '/help': { help: 'print out list of admin commands', serve: () => text(`admin commands are:\n${helpText()}`) },
  '/hot_restart': { help: 'hand over to a successor (POST), or show how far that is', serve: (c, _q, method) => restartPage(c, method) },
  '/hot_restart_version': { help: 'print the hot restart compatibility version', serve: () => text('skein.1') },
  '/init_dump': { help: 'dump what the start still waits for', serve: (c, q) => initDump(c, q) },
  '/listeners': { help: 'print listener info', serve: (c, q) => listenersPage(c, q) },
  '/logging': { help: 'query/change logging levels', serve: loggingPage },
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
  '/runtime_modify': { help: 'add or modify runtime values', mutates: true, serve: () => text('No admin layer specified\n', 503) },
  '/server_info': { help: 'print server version/status information', serve: (c) => serverInfo(c) },
  '/tap': { help: 'show exchanges as they end, as lines of JSON', mutates: true, serve: () => text('nothing can be tapped here\n', 501) },
  '/stats': { help: 'print server stats', serve: statsPage },
  '/stats/prometheus': { help: 'print server stats in prometheus format', serve: prometheusPage },
};

/** Of Envoy's process and allocator; this one has other tools for the same. */
const NOT_HERE: { readonly [path: string]: string } = {
  '/allocprofiler': 'the allocation profiler',
  '/cpuprofiler': 'the CPU profiler',
  '/heap_dump': 'a heap dump',
  '/heapprofiler': 'the heap profiler',
  '/memory/tcmalloc': 'TCMalloc',
  '/peak_heap_dump': 'a heap dump',
  '/stats/recentlookups': 'recording of stat-name lookups (names are looked up when configuration is compiled)',
  '/stats/recentlookups/clear': 'recording of stat-name lookups',
  '/stats/recentlookups/disable': 'recording of stat-name lookups',
  '/stats/recentlookups/enable': 'recording of stat-name lookups',
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
  const absent = Object.hasOwn(NOT_HERE, url.pathname) ? NOT_HERE[url.pathname] : undefined;
  if (absent !== undefined) return text(`${absent} is not part of this proxy\n`, 501);
  if (!page) return text(`invalid path. admin commands are:\n${helpText()}`, 404);
  if (page.mutates && request.method !== 'POST') {
    return text(`Method ${request.method} not allowed, POST required.`, 405);
  }
  if (!page.mutates && !['GET', 'POST', 'HEAD'].includes(request.method)) return text('Method Not Allowed', 405);
  for (const [k, v] of new URLSearchParams(request.body)) if (!url.searchParams.has(k)) url.searchParams.set(k, v);
  return page.serve(context, url.searchParams, request.method);
};

const restartPage = (context: AdminContext, method: string): AdminResponse => {
  const refusal = method === 'POST' ? context.hotRestart() : '';
  return refusal === '' ? json(context.hotRestartStatus(), method === 'POST' ? 202 : 200) : text(`${refusal}\n`, 409);
};

const health = (context: AdminContext, failed: boolean): AdminResponse => {
  context.setHealthFailed(failed);
  return text('OK\n');
};

/** Envoy's UnreadyTargetsDumps: what is not warm yet, by component. */
const initDump = ({ dataPlane, store }: AdminContext, query: URLSearchParams): AdminResponse => {
  const mask = query.get('mask');
  const dumps: { readonly name: string; readonly target_names: readonly string[] }[] = [];
  if (mask === null || mask === 'listener') {
    for (const { name, warm, config } of dataPlane.listeners()) {
      if (!warm)
        dumps.push({
          name: `init manager Listener-local-init-manager ${name} ${store.record(LISTENER_TYPE.url, name)?.version ?? ''}`,
          target_names: waitsFor(config),
        });
    }
  }
  return json(dumps.length === 0 ? {} : { unready_targets_dumps: dumps });
};

/** Names of the route configurations that a listener is still to be told. */
const waitsFor = (listener: Listener): string[] =>
  [...(listener.filter_chains ?? []), ...(listener.default_filter_chain ? [listener.default_filter_chain] : [])].flatMap((chain) =>
    (chain.filters ?? []).flatMap(({ typed_config }) => {
      const name = (typed_config as { readonly rds?: { readonly route_config_name?: string } } | undefined)?.rds?.route_config_name;
      return name === undefined ? [] : [`RdsRouteConfigSubscription init ${name}`];
    }),
  );

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

/** One logger, `all`: to set another is refused and sets nothing. Whoever may only read changes nothing. */
function loggingPage({ log }: AdminContext, query: URLSearchParams, method: string): AdminResponse {
  if (query.size > 0 && method !== 'POST') return text(`Method ${method} not allowed, POST required.`, 405);
  const named = (query.get('paths') ?? '').split(',').flatMap((pair): [string, string][] => {
    const at = pair.lastIndexOf(':');
    return at < 0 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]];
  });
  const components = [...named, ...[...query].filter(([name]) => name !== 'level' && name !== 'paths')];
  const unknown = components.find(([name]) => name !== 'all');
  if (unknown !== undefined) return text(`error: unknown logger name ${unknown[0]}: this proxy has one logger, all\n`, 400);
  const asked = query.get('level') ?? components[0]?.[1];
  if (asked !== undefined) {
    const level = Object.hasOwn(LEVELS, asked) ? LEVELS[asked] : undefined;
    if (!level)
      return text(`error: invalid logger level: ${asked}\nusage: /logging?level=<level>\nlevels: ${Object.keys(LEVELS).join(' ')}\n`, 400);
    log.level.value = level;
  } else if (query.size > 0) return text('usage: /logging?level=<level>\n', 400);
  return text(`active loggers:\n  all: ${log.level.value}\n`);
}

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
    hot_restart_version: 'skein.1',
    command_line_options: context.commandLine,
    node: context.bootstrap.node,
  });
  // Envoy prints the state even when it is the zero value (LIVE).
  return json({ version: info['version'], state: context.state(), ...info });
};

const certsPage = ({ dataPlane, clock }: AdminContext): AdminResponse => {
  const certificates = [...dataPlane.secrets()].flatMap((secret) => {
    const chain = inline(secret.tls_certificate?.certificate_chain);
    const roots = rootSources(secret.validation_context).map(inline).join('');
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
