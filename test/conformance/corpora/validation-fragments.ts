// Checks of parts of resources, by the type that rows of validation.json name. Parts of MeshConfig: validation-mesh-fragments.ts.

import type { Findings } from '../../../src/api/findings.ts';
import { checkMeshConfig, checkProxyConfig } from '../../../src/api/mesh-config/validate-mesh-config.ts';
import { nodeOf } from '../../../src/api/reading/document-node.ts';
import { readValue } from '../../../src/api/reading/read-value.ts';
import { checkDestination } from '../../../src/api/rules/networking/validate-destination.ts';
import { checkTrafficPolicy } from '../../../src/api/rules/networking/validate-destination-rule.ts';
import { checkExportTo } from '../../../src/api/rules/networking/validate-export-to.ts';
import { checkGatewayPort, checkGatewayServer } from '../../../src/api/rules/networking/validate-gateway.ts';
import * as action from '../../../src/api/rules/networking/validate-http-action.ts';
import { checkHttpRoute, checkWeightedDestinations } from '../../../src/api/rules/networking/validate-http-route.ts';
import {
  checkLoadBalancer,
  checkLocalities,
  checkLocality,
  checkZoneAware,
} from '../../../src/api/rules/networking/validate-load-balancer.ts';
import { checkServerTls } from '../../../src/api/rules/networking/validate-server-tls.ts';
import { checkClientTls, checkConnectionPool, checkOutlierDetection } from '../../../src/api/rules/networking/validate-traffic-block.ts';
import { checkLogFilter } from '../../../src/api/rules/validate-telemetry.ts';
import * as dr from '../../../src/api/schema/destination-rule.ts';
import * as gw from '../../../src/api/schema/gateway.ts';
import type { Infer, Schema } from '../../../src/api/schema/schema.ts';
import { list } from '../../../src/api/schema/schema.ts';
import * as vs from '../../../src/api/schema/virtual-service.ts';
import { checkDuration, formatDuration } from '../../../src/api/values/duration-text.ts';
import { checkHeaderValue, checkMatchHeaderName, checkStrictHeaderName } from '../../../src/api/values/header-text.ts';
import {
  checkFqdn,
  checkGatewayBoundDomain,
  checkPortName,
  checkTrustDomain,
  checkWildcardDomain,
} from '../../../src/api/values/host-name.ts';
import { checkIp, checkSubnet } from '../../../src/api/values/ip-text.ts';
import { type Row, row, text, texts } from './case.ts';
import { refusedByWebhook } from './verdict.ts';

export type Fragment = (input: unknown, extra: Row, findings: Findings) => void;

export const word =
  (check: (value: string, extra: Row) => string | undefined): Fragment =>
  (input, extra, findings) =>
    findings.unless('', check(String(input), extra));

export const part =
  <S extends Schema>(schema: S, check: (value: Infer<S>, findings: Findings, extra: Row) => void): Fragment =>
  (input, extra, findings) => {
    if (input === null || input === undefined) return;
    const value = readValue(schema, nodeOf(input), '', findings);
    if (!refusedByWebhook(findings.list)) check(value, findings, extra);
  };

const route = (delegate: boolean): Fragment => part(vs.httpRoute, (v, f) => checkHttpRoute(v, '', f, delegate));
const outlier = (extra: Row): boolean => extra['outlier'] !== undefined && extra['outlier'] !== null;

/** Functions that judge a duration of MeshConfig, by the end of their name; the others judge any duration. */
const MESH_DURATIONS: Readonly<Record<string, (value: string, findings: Findings) => void>> = {
  ProtocolDetectionTimeout: (v, f) => checkMeshConfig({ protocolDetectionTimeout: v }, f),
  ConnectTimeout: (v, f) => checkMeshConfig({ connectTimeout: v }, f),
  DrainDuration: (v, f) => checkProxyConfig({ drainDuration: v }, '', f),
};

const duration: Fragment = (input, extra, findings) => {
  const written = typeof input === 'number' ? formatDuration(BigInt(input)) : String(input);
  const mesh = Object.entries(MESH_DURATIONS).find(([name]) => text(extra['function']).endsWith(name));
  if (mesh) mesh[1](written, findings);
  else findings.unless('', checkDuration(written));
};

const exportTo: Fragment = (input, extra, findings) =>
  checkExportTo(texts(input), '', findings, {
    namespace: String(extra['namespace'] ?? ''),
    allowNone: extra['isServiceEntry'] === true,
    ownNamespaceOnly: extra['isDestinationRuleWithSelector'] === true,
  });

export const fragments: Readonly<Record<string, Fragment>> = {
  duration,
  fqdn: word((v) => checkFqdn(v)),
  wildcardDomain: word((v) => checkWildcardDomain(v)),
  wildcardDomainGateway: word((v, extra) => checkGatewayBoundDomain(v, extra['sni'] === true)),
  trustDomain: word((v) => checkTrustDomain(v)),
  portName: word((v) => checkPortName(v)),
  ip: word((v) => checkIp(v)),
  ipSubnet: word((v) => checkSubnet(v)),
  headerValue: word((v) => checkHeaderValue(v)),
  strictHeaderName: word((v) => checkStrictHeaderName(v)),
  headerNameOrJwtClaim: word((v) => checkMatchHeaderName(v)),
  'localities[]': (input, _extra, findings) => findings.unless('', checkLocalities(texts(input))),
  exportTo,
  HTTPRoute: route(false),
  'HTTPRoute(root)': route(false),
  'HTTPRoute(delegate)': route(true),
  HTTPRetry: part(vs.httpRetry, (v, f) => action.checkRetry(v, '', f)),
  HTTPRedirect: part(vs.httpRedirect, (v, f) => action.checkRedirect(v, '', f, {})),
  HTTPDirectResponse: part(vs.httpDirectResponse, (v, f) => action.checkDirectResponse(v, '', f)),
  HTTPRewrite: part(vs.httpRewrite, (v, f) => action.checkRewrite(v, '', f)),
  RegexRewrite: part(vs.regexRewrite, (v, f) => action.checkRegexRewrite(v, '', f)),
  'HTTPFaultInjection.Abort': part(vs.httpFaultInjectionAbort, (v, f) => action.checkAbort(v, '', f)),
  'HTTPFaultInjection.Delay': part(vs.httpFaultInjectionDelay, (v, f) => action.checkDelay(v, '', f)),
  CorsPolicy: part(vs.corsPolicy, (v, f) => action.checkCorsPolicy(v, '', f)),
  Destination: part(vs.destination, (v, f) => checkDestination(v, '', f)),
  'RouteDestination[]': part(list(vs.routeDestination), (v, f) => checkWeightedDestinations(v, '', f)),
  TrafficPolicy: part(dr.trafficPolicy, (v, f, e) => checkTrafficPolicy(v, '', f, text(e['namespace'] ?? e['configNamespace']))),
  ConnectionPoolSettings: part(dr.connectionPoolSettings, (v, f) => checkConnectionPool(v, '', f)),
  OutlierDetection: part(dr.outlierDetection, (v, f) => checkOutlierDetection(v, '', f)),
  LoadBalancerSettings: part(dr.loadBalancerSettings, (v, f, e) => checkLoadBalancer(v, '', f, outlier(e))),
  LocalityLoadBalancerSetting: part(dr.localityLoadBalancerSetting, (v, f, e) => checkLocality(v, '', f, outlier(e))),
  ZoneAwareLoadBalancerSetting: part(dr.zoneAwareLoadBalancerSetting, (v, f, e) => checkZoneAware(v, '', f, outlier(e))),
  ClientTLSSettings: part(dr.clientTLSSettings, (v, f, e) => checkClientTls(v, '', f, text(e['namespace'] ?? e['configNamespace']))),
  'Gateway.Server': part(gw.server, (v, f) => checkGatewayServer(v, '', f)),
  'Gateway.Port': part(gw.port, (v, f, e) => checkGatewayPort(v, String(e['bind'] ?? ''), '', f)),
  'AccessLogging.Filter': (input, _extra, findings) => findings.unless('', checkLogFilter(text(row(input)['expression']))),
  ServerTLSSettings: part(gw.serverTLSSettings, (v, f) => checkServerTls(v, '', f)),
};
