// What Istio's webhook asks of a Telemetry.

import type { Findings } from '../findings.ts';
import { below, child, item } from '../reading/field-path.ts';
import type { Telemetry, TelemetryMetrics, TelemetryTracing } from '../specs.ts';
import { unknownAttribute } from '../values/cel-attributes.ts';
import { checkCel } from '../values/cel-text.ts';
import type { Check } from './validate-context.ts';
import { checkTargets } from './validate-target-ref.ts';

export const checkTelemetry: Check<Telemetry> = (spec, path, findings) => {
  checkTargets(spec, path, findings);
  const { tracing = [], metrics = [], accessLogging = [] } = spec;
  if (tracing.length > 1)
    findings.warn(item(child(path, 'tracing'), 1), 'multiple tracing is not currently supported: only the first is used');
  for (const [index, entry] of tracing.entries()) checkTracing(entry, item(child(path, 'tracing'), index), findings);
  for (const [index, entry] of metrics.entries()) checkMetrics(entry, item(child(path, 'metrics'), index), findings);
  for (const [index, entry] of accessLogging.entries()) {
    const at = item(child(path, 'accessLogging'), index);
    checkProviders(entry.providers, at, findings);
    const expression = entry.filter?.expression ?? '';
    if (entry.filter) findings.unless(below(at, 'filter.expression'), checkLogFilter(expression));
    warnOfAttributes(expression, below(at, 'filter.expression'), findings);
  }
};

export const checkLogFilter = (expression: string): string | undefined => {
  const failure = checkCel(expression);
  return failure === undefined ? undefined : `must be a valid CEL expression, ${failure}`;
};

const warnOfAttributes = (expression: string, path: string, findings: Findings): void => {
  const unknown = unknownAttribute(expression);
  if (unknown !== undefined) findings.warn(path, unknown);
};

const checkProviders = (providers: TelemetryTracing['providers'], path: string, findings: Findings): void => {
  for (const [index, provider] of (providers ?? []).entries())
    if (!provider.name) findings.error(item(child(path, 'providers'), index), 'providers.name may not be empty');
};

const checkTracing = (tracing: TelemetryTracing, path: string, findings: Findings): void => {
  if ((tracing.providers ?? []).length > 1)
    findings.warn(child(path, 'providers'), 'multiple providers is not currently supported: only the first is used');
  checkProviders(tracing.providers, path, findings);
  const percentage = tracing.randomSamplingPercentage ?? 0;
  const where = child(path, 'randomSamplingPercentage');
  if ((percentage < 0 || percentage > 100) && !findings.failedAt(where))
    findings.error(where, 'randomSamplingPercentage must be in range [0.0, 100.0]');
  for (const [name, tag] of Object.entries(tracing.customTags ?? {})) {
    const at = child(child(path, 'customTags'), name);
    if (name === '') findings.error(at, 'tag name may not be empty');
    if (tag.literal && !tag.literal.value) findings.error(at, 'literal tag value may not be empty');
    if (tag.header && !tag.header.name) findings.error(at, 'header tag name may not be empty');
    if (tag.environment && !tag.environment.name) findings.error(at, 'environment tag name may not be empty');
  }
};

const checkMetrics = (metrics: TelemetryMetrics, path: string, findings: Findings): void => {
  checkProviders(metrics.providers, path, findings);
  for (const [index, override] of (metrics.overrides ?? []).entries()) {
    const at = item(child(path, 'overrides'), index);
    if (override.match?.customMetric === '') findings.error(below(at, 'match.customMetric'), 'customMetric may not be empty');
    for (const [name, tag] of Object.entries(override.tagOverrides ?? {})) {
      const where = child(child(at, 'tagOverrides'), name);
      if (name === '') findings.warn(where, 'tagOverrides.name may not be empty');
      const remove = tag.operation === 'REMOVE';
      if (remove && tag.value !== undefined) findings.error(where, 'value must not be set when operation is REMOVE');
      // An operation that is not written means UPSERT.
      if (!remove && !tag.value) findings.error(where, 'value must be set when operation is UPSERT');
      warnOfAttributes(tag.value ?? '', child(where, 'value'), findings);
    }
  }
};
