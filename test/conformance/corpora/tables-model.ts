// tables/pilot_pkg_model.json: policies, hosts, visibility, precedence, delegates, scopes.

import type { HttpMatchRequest } from '../../../src/api/specs.ts';
import { matchesConflict, mergeDelegate } from '../../../src/mesh/delegate.ts';
import { resolveShortName } from '../../../src/mesh/host.ts';
import { differs, leftOut, type Row, row, text, type Verdict } from './case.ts';
import { listAuthorizationPolicies, policyMatcher } from './policy-judges.ts';
import { table } from './table.ts';
import { mergedGateways } from './tables-core-routes.ts';
import { bestHost, delegates, destinationRuleFor, serviceVisible, trafficDistribution, virtualServicesFor } from './tables-precedence.ts';
import { egressImports, sidecarScope } from './tables-sidecar-scope.ts';
import { accessLogging, telemetryFilters, tracing } from './telemetry-judges.ts';

const mergeMatches = (r: Row): Verdict => {
  const asRule = (match: unknown): { readonly match?: HttpMatchRequest[] } =>
    Array.isArray(match) ? { match: match as HttpMatchRequest[] } : {};
  return differs(mergeDelegate(asRule(r['root']), [asRule(r['delegate'])])[0]?.match, r['expected']);
};

const shortName = (r: Row): Verdict => {
  const meta = row(r['meta']);
  return differs(resolveShortName(text(r['name']), text(meta['Namespace']), text(meta['Domain'])), r['out']);
};

export const model = table({
  TestAuthorizationPolicies_ListAuthorizationPolicies: listAuthorizationPolicies,
  TestPolicyMatcher: policyMatcher,
  TestResolveShortnameToFQDN: shortName,
  TestMostSpecificHostMatch: bestHost,
  TestParseSubsetKey: leftOut('how Go code reads back its own cluster names'),
  TestParseGatewayRDSRouteName: leftOut('how Go code reads back its own route configuration names'),
  TestIsServiceVisible: serviceVisible,
  TestSetDestinationRuleWithExportTo: destinationRuleFor,
  TestVirtualServiceWithExportTo: virtualServicesFor,
  TestMergeGateways: mergedGateways,
  TestMergeHTTPMatchRequests: mergeMatches,
  TestHasConflict: (r) => differs(matchesConflict(row(r['root']) as HttpMatchRequest, row(r['leaf']) as HttpMatchRequest), r['expected']),
  TestControllerMergeVirtualServices: delegates,
  TestCreateSidecarScope: sidecarScope,
  TestIstioEgressListenerWrapper: egressImports,
  TestAccessLogging: accessLogging,
  TestTracing: tracing,
  TestTelemetryFilters: telemetryFilters,
  TestGetTrafficDistribution: trafficDistribution,
});
