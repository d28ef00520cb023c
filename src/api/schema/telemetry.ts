// The fields of Istio's telemetry messages (telemetry v1alpha1). Facts only: what they mean is checked elsewhere.

import { bool, double, duration, enumeration, list, map, message, string } from './schema.ts';
import { policyTargetReference, workloadSelector } from './selector.ts';

export const telemetryWorkloadMode = enumeration(['CLIENT_AND_SERVER', 'CLIENT', 'SERVER']);

export const providerRef = message('ProviderRef', { name: string }, { required: ['name'], limits: { name: { minLength: 1 } } });

export const tracingSelector = message('Tracing.TracingSelector', { mode: telemetryWorkloadMode });

export const tracingLiteral = message('Tracing.Literal', { value: string }, { required: ['value'], limits: { value: { minLength: 1 } } });

export const tracingEnvironment = message(
  'Tracing.Environment',
  { name: string, defaultValue: string },
  { required: ['name'], limits: { name: { minLength: 1 } } },
);

export const tracingRequestHeader = message(
  'Tracing.RequestHeader',
  { name: string, defaultValue: string },
  { required: ['name'], limits: { name: { minLength: 1 } } },
);

export const tracingFormatter = message(
  'Tracing.Formatter',
  { value: string },
  { required: ['value'], limits: { value: { minLength: 1 } } },
);

export const tracingCustomTag = message(
  'Tracing.CustomTag',
  { literal: tracingLiteral, environment: tracingEnvironment, header: tracingRequestHeader, formatter: tracingFormatter },
  { oneofs: [['literal', 'environment', 'header', 'formatter']] },
);

export const tracing = message(
  'Tracing',
  {
    match: tracingSelector,
    providers: list(providerRef),
    randomSamplingPercentage: double,
    disableSpanReporting: bool,
    customTags: map(tracingCustomTag),
    useRequestIdForTraceSampling: bool,
    enableIstioTags: bool,
    disableContextPropagation: bool,
  },
  { limits: { randomSamplingPercentage: { minimum: 0, maximum: 100 } } },
);

export const istioMetric = enumeration([
  'ALL_METRICS',
  'REQUEST_COUNT',
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_OPENED_CONNECTIONS',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_SENT_BYTES',
  'TCP_RECEIVED_BYTES',
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
]);

export const metricSelector = message(
  'MetricSelector',
  { metric: istioMetric, customMetric: string, mode: telemetryWorkloadMode },
  { oneofs: [['metric', 'customMetric']], limits: { customMetric: { minLength: 1 } } },
);

export const tagOverrideOperation = enumeration(['UPSERT', 'REMOVE']);

export const tagOverride = message('MetricsOverrides.TagOverride', { operation: tagOverrideOperation, value: string });

export const metricsOverrides = message('MetricsOverrides', {
  match: metricSelector,
  disabled: bool,
  tagOverrides: map(tagOverride),
});

export const metrics = message('Metrics', {
  providers: list(providerRef),
  overrides: list(metricsOverrides),
  reportingInterval: duration,
});

export const logSelector = message('AccessLogging.LogSelector', { mode: telemetryWorkloadMode });

export const accessLoggingFilter = message('AccessLogging.Filter', { expression: string });

export const accessLogging = message('AccessLogging', {
  match: logSelector,
  providers: list(providerRef),
  disabled: bool,
  filter: accessLoggingFilter,
});

export const telemetry = message(
  'Telemetry',
  {
    selector: workloadSelector,
    targetRef: policyTargetReference,
    targetRefs: list(policyTargetReference),
    tracing: list(tracing),
    metrics: list(metrics),
    accessLogging: list(accessLogging),
  },
  { limits: { targetRefs: { maxItems: 16 } } },
);
