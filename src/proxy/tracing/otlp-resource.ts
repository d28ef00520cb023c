// Who reports, as OTLP's resource says it: the service's name, and what resource detectors find.

import { PlanError } from '../../plan/plan-error.ts';
import type { OpenTelemetryConfig, StaticConfigResourceDetectorConfig } from '../../xds/gen/types.ts';
import { configAs, typeNameOf } from '../extension-config.ts';
import { PROCESS_FACTS } from '../process-facts.ts';

const DETECTORS = 'envoy.extensions.tracers.opentelemetry.resource_detectors.v3.';
const VARIABLE = 'OTEL_RESOURCE_ATTRIBUTES';
const UNNAMED = 'unknown_service:envoy';

export const resourceAttributes = (config: OpenTelemetryConfig, path: string): ReadonlyMap<string, string> => {
  const name = config.service_name ?? '';
  const found = new Map<string, string>([
    ['service.name', name === '' ? UNNAMED : name],
    ['telemetry.sdk.name', 'skein'],
    ['telemetry.sdk.language', 'js'],
  ]);
  config.resource_detectors?.forEach((detector, i) => {
    const at = `${path}.resource_detectors[${i}]`;
    const type = typeNameOf(detector.typed_config);
    if (type === `${DETECTORS}EnvironmentResourceDetectorConfig`) readVariable(found);
    else if (type === `${DETECTORS}StaticConfigResourceDetectorConfig`) {
      const { attributes = {} } = configAs<StaticConfigResourceDetectorConfig>(detector.typed_config, `${at}.typed_config`);
      for (const [key, value] of Object.entries(attributes)) found.set(key, value);
    } else throw new PlanError(at, `resource detector ${type === '' ? (detector.name ?? '') : type} is not supported`);
  });
  return found;
};

/** `key=value,key=value`. */
const readVariable = (found: Map<string, string>): void => {
  for (const pair of (PROCESS_FACTS.environment[VARIABLE] ?? '').split(',')) {
    const equals = pair.indexOf('=');
    if (equals > 0) found.set(pair.slice(0, equals).trim(), pair.slice(equals + 1).trim());
  }
};
