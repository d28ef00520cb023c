// Istio's own verdicts: every row of the shared tables whose type we validate must be judged alike. The adapter knows types of input,
// never cases.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeOf } from '../../src/api/document-node.ts';
import { checkDuration, checkDurationOrZero, formatDuration } from '../../src/api/duration-text.ts';
import { Findings } from '../../src/api/findings.ts';
import { checkHeaderValue, checkMatchHeaderName } from '../../src/api/header-text.ts';
import { checkFqdn, checkGatewayBoundDomain, checkPortName, checkTrustDomain, checkWildcardDomain } from '../../src/api/host-name.ts';
import { checkIp, checkSubnet } from '../../src/api/ip-text.ts';
import { kinds } from '../../src/api/kinds.ts';
import { readValue } from '../../src/api/read-value.ts';
import * as dr from '../../src/api/schema/destination-rule.ts';
import * as gw from '../../src/api/schema/gateway.ts';
import { meshConfigDefaultTrafficPolicy } from '../../src/api/schema/mesh-config.ts';
import { authenticationPolicy, proxyConfig, proxyConfigConnectionSettings } from '../../src/api/schema/mesh-proxy-config.ts';
import type { Infer, Schema } from '../../src/api/schema/schema.ts';
import { list } from '../../src/api/schema/schema.ts';
import * as vs from '../../src/api/schema/virtual-service.ts';
import { checkDestination } from '../../src/api/validate-destination.ts';
import { checkTrafficPolicy } from '../../src/api/validate-destination-rule.ts';
import { checkExportTo } from '../../src/api/validate-export-to.ts';
import { checkGatewayPort, checkGatewayServer } from '../../src/api/validate-gateway.ts';
import * as action from '../../src/api/validate-http-action.ts';
import { checkHttpRoute, checkWeightedDestinations } from '../../src/api/validate-http-route.ts';
import { checkLoadBalancer, checkLocalities, checkLocality, checkZoneAware } from '../../src/api/validate-load-balancer.ts';
import * as mesh from '../../src/api/validate-mesh-config.ts';
import { checkServerTls } from '../../src/api/validate-server-tls.ts';
import { checkClientTls, checkConnectionPool, checkOutlierDetection } from '../../src/api/validate-traffic-block.ts';
import { expand, missing, sharedFile } from './shared-data.ts';
import { validateSpec } from './validate-spec.ts';

interface Row {
  readonly suite?: string;
  readonly test?: string;
  readonly inputType: string;
  readonly level: 'resource' | 'fragment';
  readonly input: unknown;
  readonly metadata?: { name?: string; namespace?: string; annotations?: Record<string, string> };
  readonly extra?: Record<string, unknown>;
  readonly expected: { valid: boolean; warning?: boolean | string };
}
type Extra = Readonly<Record<string, unknown>>;
type Judge = (input: unknown, extra: Extra, findings: Findings) => void;

const text =
  (check: (value: string, extra: Extra) => string | undefined): Judge =>
  (input, extra, findings) =>
    findings.unless('', check(String(input), extra));

const fragment =
  <S extends Schema>(schema: S, check: (value: Infer<S>, findings: Findings, extra: Extra) => void): Judge =>
  (input, extra, findings) => {
    if (input === null || input === undefined) return;
    const value = readValue(schema, nodeOf(input), '', findings);
    if (!failed(findings)) check(value, findings, extra);
  };

const texts = (input: unknown): string[] => (Array.isArray(input) ? input.map(String) : []);

const route = (delegate: boolean): Judge => fragment(vs.httpRoute, (v, f) => checkHttpRoute(v, '', f, delegate));

const judges: Readonly<Record<string, Judge>> = {
  duration: (input, extra, findings) => {
    const written = typeof input === 'number' ? formatDuration(BigInt(input)) : String(input);
    // The table has rows of several functions; one of them takes 0s as "off".
    findings.unless('', extra['zeroIsOff'] === true ? checkDurationOrZero(written) : checkDuration(written));
  },
  fqdn: text((v) => checkFqdn(v)),
  wildcardDomain: text((v) => checkWildcardDomain(v)),
  wildcardDomainGateway: text((v, extra) => checkGatewayBoundDomain(v, extra['sni'] === true)),
  trustDomain: text((v) => checkTrustDomain(v)),
  portName: text((v) => checkPortName(v)),
  ip: text((v) => checkIp(v)),
  ipSubnet: text((v) => checkSubnet(v)),
  headerValue: text((v) => checkHeaderValue(v)),
  headerNameOrJwtClaim: text((v) => checkMatchHeaderName(v)),
  'localities[]': (input, _extra, findings) => findings.unless('', checkLocalities(texts(input))),
  exportTo: (input, extra, findings) =>
    checkExportTo(texts(input), '', findings, {
      namespace: String(extra['namespace'] ?? ''),
      allowNone: extra['isServiceEntry'] === true,
      ownNamespaceOnly: extra['isDestinationRuleWithSelector'] === true,
    }),
  HTTPRoute: route(false),
  'HTTPRoute(root)': route(false),
  'HTTPRoute(delegate)': route(true),
  HTTPRetry: fragment(vs.httpRetry, (v, f) => action.checkRetry(v, '', f)),
  HTTPRedirect: fragment(vs.httpRedirect, (v, f) => action.checkRedirect(v, '', f, {})),
  HTTPDirectResponse: fragment(vs.httpDirectResponse, (v, f) => action.checkDirectResponse(v, '', f)),
  HTTPRewrite: fragment(vs.httpRewrite, (v, f) => action.checkRewrite(v, '', f)),
  RegexRewrite: fragment(vs.regexRewrite, (v, f) => action.checkRegexRewrite(v, '', f)),
  'HTTPFaultInjection.Abort': fragment(vs.httpFaultInjectionAbort, (v, f) => action.checkAbort(v, '', f)),
  'HTTPFaultInjection.Delay': fragment(vs.httpFaultInjectionDelay, (v, f) => action.checkDelay(v, '', f)),
  CorsPolicy: fragment(vs.corsPolicy, (v, f) => action.checkCorsPolicy(v, '', f)),
  Destination: fragment(vs.destination, (v, f) => checkDestination(v, '', f)),
  'RouteDestination[]': fragment(list(vs.routeDestination), (v, f) => checkWeightedDestinations(v, '', f)),
  TrafficPolicy: fragment(dr.trafficPolicy, (v, f) => checkTrafficPolicy(v, '', f)),
  ConnectionPoolSettings: fragment(dr.connectionPoolSettings, (v, f) => checkConnectionPool(v, '', f)),
  OutlierDetection: fragment(dr.outlierDetection, (v, f) => checkOutlierDetection(v, '', f)),
  LoadBalancerSettings: fragment(dr.loadBalancerSettings, (v, f, e) => checkLoadBalancer(v, '', f, e['outlier'] != null)),
  LocalityLoadBalancerSetting: fragment(dr.localityLoadBalancerSetting, (v, f, e) => checkLocality(v, '', f, e['outlier'] != null)),
  ZoneAwareLoadBalancerSetting: fragment(dr.zoneAwareLoadBalancerSetting, (v, f, e) => checkZoneAware(v, '', f, e['outlier'] != null)),
  ClientTLSSettings: fragment(dr.clientTLSSettings, (v, f) => checkClientTls(v, '', f)),
  'Gateway.Server': fragment(gw.server, (v, f) => checkGatewayServer(v, '', f)),
  'Gateway.Port': fragment(gw.port, (v, f, e) => checkGatewayPort(v, String(e['bind'] ?? ''), '', f)),
  ServerTLSSettings: fragment(gw.serverTLSSettings, (v, f) => checkServerTls(v, '', f)),
};

/** These rows come without the CRD's schema, so its sizes play no part. */
const failed = (findings: Findings): boolean => findings.list.some((f) => f.severity === 'error' && f.code !== 'FIELD_LIMIT');

const provider =
  (kind: string): Judge =>
  (input, _extra, findings) =>
    mesh.checkProvider(kind, input as object, '', findings);

const meshJudges: Readonly<Record<string, Judge>> = {
  'mesh.ProxyConfig': fragment(proxyConfig, (v, f) => mesh.checkProxyConfig(v, '', f)),
  ConnectionSettings: fragment(proxyConfigConnectionSettings, (v, f) => mesh.checkConnectionSettings(v, '', f)),
  DefaultTrafficPolicy: fragment(meshConfigDefaultTrafficPolicy, (v, f) => mesh.checkDefaultTrafficPolicy(v, '', f)),
  'HTTPRetry(meshInbound)': fragment(vs.httpRetry, (v, f) => mesh.checkInboundRetry(v, '', f)),
  'serviceSettings.hosts': (input, _extra, findings) => {
    for (const host of texts(input)) findings.unless('', checkWildcardDomain(host));
  },
  authPolicy: fragment(authenticationPolicy, (v, f) => mesh.checkProxyConfig({ controlPlaneAuthPolicy: v }, '', f)),
  ExtensionProviderService: text((v) => mesh.checkProviderService(v)),
  ExtensionProviderTracingZipkin: provider('zipkin'),
  ExtensionProviderTracingLightstep: provider('lightstep'),
  ExtensionProviderTracingDatadog: provider('datadog'),
  ExtensionProviderTracingOpenCensusAgent: provider('opencensus'),
  ExtensionProviderTracingOpentelemetry: provider('opentelemetry'),
  ExtensionProviderEnvoyHTTPAls: provider('envoyHttpAls'),
  ExtensionProviderEnvoyTCPAls: provider('envoyTcpAls'),
};

const judge = (row: Row): Findings | undefined => {
  const findings = new Findings();
  const input = expand(row.input);
  if (row.level === 'fragment') {
    const found = judges[row.inputType] ?? meshJudges[row.inputType];
    if (!found) return undefined;
    found(input, { ...row.extra, zeroIsOff: row.test === 'TestValidateProtocolDetectionTimeout' }, findings);
    return findings;
  }
  const kind = kinds.find((k) => k.kind === row.inputType)?.kind;
  if (!kind) return undefined;
  const { name = '', namespace = '', annotations = {} } = row.metadata ?? {};
  findings.list.push(...validateSpec(kind, input, { name, namespace, annotations }));
  return findings;
};

const warns = (expected: boolean | string, findings: Findings): boolean => {
  const some = findings.list.some((f) => f.severity === 'warning');
  return expected === false || expected === '' ? !some : some;
};

test('admission verdicts agree with Istio', { skip: missing('corpora/validation.json') }, () => {
  const rows = JSON.parse(sharedFile('corpora/validation.json') ?? '[]') as Row[];
  const wrong: string[] = [];
  let judged = 0;
  for (const row of rows) {
    const findings = judge(row);
    if (!findings) continue;
    judged++;
    const told = findings.list.map((f) => `${f.severity} ${f.path}: ${f.message}`).join('; ') || 'nothing';
    const input = JSON.stringify({ ...row.metadata, input: row.input }).slice(0, 600);
    if (failed(findings) === row.expected.valid)
      wrong.push(`${row.inputType} should be ${row.expected.valid ? 'valid' : 'invalid'}: ${input} said ${told}`);
    else if (row.expected.warning !== undefined && row.expected.valid && !warns(row.expected.warning, findings)) {
      wrong.push(`${row.inputType} warning ${JSON.stringify(row.expected.warning)}: ${input} said ${told}`);
    }
  }
  assert.equal(wrong.length, 0, `${wrong.length} of ${judged} disagree\n${wrong.join('\n')}`);
  assert.ok(judged > 380, `only ${judged} rows were judged`);
});

test('CRD verdicts agree with Istio', { skip: missing('corpora/crd-validation.json') }, () => {
  type Crd = { resource: { kind: string; metadata: { name: string; namespace?: string }; spec?: unknown }; expected: { valid: boolean } };
  const rows = JSON.parse(sharedFile('corpora/crd-validation.json') ?? '[]') as Crd[];
  const wrong: string[] = [];
  let judged = 0;
  for (const { resource, expected } of rows) {
    const kind = kinds.find((k) => k.kind === resource.kind)?.kind;
    if (!kind) continue;
    judged++;
    const { name, namespace = 'default' } = resource.metadata;
    const found = validateSpec(kind, expand(resource.spec), { name, namespace, annotations: {} });
    if (found.some((f) => f.severity === 'error') !== expected.valid) continue;
    wrong.push(
      `${kind} should be ${expected.valid ? 'valid' : 'invalid'}: ${JSON.stringify(resource).slice(0, 500)} said ${JSON.stringify(found)}`,
    );
  }
  assert.equal(wrong.length, 0, `${wrong.length} of ${judged} disagree\n${wrong.join('\n')}`);
  assert.ok(judged > 25, `only ${judged} rows were judged`);
});
