// What Telemetry says that cannot take effect: providers that the mesh does not have or that do something else, objects behind older ones.

import { CONTROL_PLANE_COLLECTOR, type ExtensionProvider } from '../api/mesh-config/mesh-config.ts';
import type { Problem } from '../api/problem.ts';
import type { Snapshot } from './snapshot.ts';
import type { Telemetry } from './telemetry.ts';

/** Codes of this subject, with what they mean. */
const codes = {
  TELEMETRY_SHADOWED: 'an older Telemetry speaks for the same whole namespace; this one has no effect',
  PROVIDER_UNKNOWN: "telemetry goes to a provider that the mesh's settings do not have; nothing is sent",
  PROVIDER_UNFIT: 'telemetry goes to a provider that takes another kind of it; nothing is sent',
  PROVIDER_UNREACHABLE: 'telemetry goes to a provider whose service is not in the mesh; nothing is sent',
} as const;

type Kind = keyof NonNullable<ExtensionProvider>;

const TAKEN: Readonly<Record<'accessLogging' | 'metrics' | 'tracing', readonly Kind[]>> = {
  accessLogging: ['envoyFileAccessLog', 'envoyHttpAls', 'envoyTcpAls', 'envoyOtelAls'],
  metrics: ['prometheus'],
  tracing: ['zipkin', 'opentelemetry', 'datadog', 'skywalking'],
};

export const telemetryProblems = (snapshot: Snapshot): readonly Problem[] => [
  ...snapshot.telemetry.shadowed.map(({ policy, winner }) =>
    problem('TELEMETRY_SHADOWED', policy, 'spec', `Telemetry ${winner.name} is older and speaks for all of namespace ${policy.namespace}`),
  ),
  ...snapshot.telemetry.all.flatMap((policy) => providerProblems(snapshot, policy)),
];

const providerProblems = (snapshot: Snapshot, policy: Telemetry): readonly Problem[] =>
  (['accessLogging', 'metrics', 'tracing'] as const).flatMap((section) =>
    (policy.spec[section] ?? []).flatMap((entry, i) =>
      (entry.providers ?? []).flatMap(({ name }, j) => {
        const found = check(snapshot, section, name);
        return found === undefined ? [] : [problem(found.code, policy, `spec.${section}[${i}].providers[${j}].name`, found.message)];
      }),
    ),
  );

const check = (
  snapshot: Snapshot,
  section: keyof typeof TAKEN,
  name: string,
): { readonly code: keyof typeof codes; readonly message: string } | undefined => {
  const provider = snapshot.meshConfig.extensionProviders.find((p) => (p.name ?? '').toLowerCase() === name.toLowerCase());
  if (provider === undefined) return { code: 'PROVIDER_UNKNOWN', message: `extensionProviders has no ${name}` };
  const kind = TAKEN[section].find((k) => provider[k] !== undefined);
  if (kind === undefined) return { code: 'PROVIDER_UNFIT', message: `provider ${name} takes no ${WORDS[section]}` };
  const target: unknown = provider[kind];
  const service = typeof target === 'object' && target !== null && 'service' in target ? String(target.service) : undefined;
  if (service === undefined) return undefined;
  if (service === CONTROL_PLANE_COLLECTOR) {
    if (kind === 'opentelemetry' && provider.opentelemetry?.http === undefined) return undefined;
    return { code: 'PROVIDER_UNFIT', message: `provider ${name}: the control plane takes nothing but spans, by OTLP over gRPC` };
  }
  const [namespace, host] = service.includes('/') ? service.split('/') : [undefined, service];
  const found = snapshot.services.withHost(host ?? '').filter((s) => namespace === undefined || s.namespace === namespace);
  if (found.length === 0) return { code: 'PROVIDER_UNREACHABLE', message: `provider ${name} is service ${service}, which nothing defines` };
  const namespaces = new Set(found.map((s) => s.namespace));
  if (namespaces.size === 1) return undefined;
  const message = `provider ${name} is service ${service}, which several namespaces have: write namespace/host`;
  return { code: 'PROVIDER_UNREACHABLE', message };
};

const WORDS = { accessLogging: 'access logs', metrics: 'metrics', tracing: 'traces' } as const;

const problem = (code: keyof typeof codes, policy: Telemetry, path: string, message: string): Problem => ({
  code,
  severity: 'warning',
  file: policy.origin.file,
  ...policy.origin.at(path),
  path,
  message,
});
