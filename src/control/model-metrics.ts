// What the mesh holds and what is wrong with it, as numbers under istiod's names. Read when the page is asked for.
import type { Problem } from '../api/problem.ts';
import { ofKind } from '../api/resource.ts';
import type { ControlMetrics } from './metric-registry.ts';
import type { Model } from './model.ts';

/** What of our findings is what istiod counts by such a name. */
const CONFLICTS: Readonly<Record<string, string>> = {
  ROUTE_SHADOWED: 'pilot_vservice_dup_domain',
  SERVER_CONFLICT: 'pilot_conflict_inbound_listener',
  SERVICE_SHADOWED: 'pilot_duplicate_envoy_clusters',
};

export const modelMetrics = (model: Model, metrics: ControlMetrics, now: () => number, version: string): void => {
  metrics.gauge('pilot_info', () => [[{ version }, 1]]);
  metrics.gauge('istio_build', () => [[{ component: 'pilot', tag: version }, 1]]);
  metrics.gauge('pilot_services', () => model.current?.snapshot.services.all.length ?? 0);
  metrics.gauge('pilot_virt_services', () => ofKind(model.current?.resources ?? [], 'VirtualService').length);
  metrics.gauge('skein_config_generation', () => model.current?.number ?? 0);
  metrics.gauge('skein_config_age_seconds', () => (model.current === undefined ? 0 : Math.max(0, now() - model.current.madeAtMs) / 1000));
  metrics.gauge('skein_config_problems', () =>
    (['error', 'warning'] as const).map((severity) => [{ severity }, count(model.problems, (p) => p.severity === severity)] as const),
  );
  metrics.gauge('pilot_total_rejected_configs', () => count(model.problems, (p) => p.severity === 'error'));
  for (const [code, name] of Object.entries(CONFLICTS)) metrics.gauge(name, () => count(model.problems, (p) => p.code === code));
  model.subscribe(() => {
    metrics.count('pilot_push_triggers', { type: 'config' });
    metrics.count('pilot_inbound_updates', { type: 'config' });
  });
};

const count = (problems: readonly Problem[], holds: (problem: Problem) => boolean): number => problems.filter(holds).length;
