// What Istio's webhook asks of a VirtualService.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService } from '../../specs.ts';
import { routingClaim } from '../../values/header-text.ts';
import { checkGatewayBoundDomain, checkPort, checkWildcardDomain, hostsOverlap, hostWithin } from '../../values/host-name.ts';
import { checkSubnet, isIp } from '../../values/ip-text.ts';
import { checkLabels } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';
import { checkGatewayNames } from './validate-destination.ts';
import { checkExportTo } from './validate-export-to.ts';
import { checkHttpRoute, checkWeightedDestinations } from './validate-http-route.ts';
import { warnUnusedRules } from './validate-unused-rules.ts';

export const checkVirtualService: Check<VirtualService> = (spec, path, findings, context) => {
  const hosts = spec.hosts ?? [];
  const gateways = spec.gateways ?? [];
  const delegate = hosts.length === 0;
  if (delegate) checkDelegate(spec, path, findings);
  checkGatewayNames(gateways, child(path, 'gateways'), findings);
  const mesh = gateways.length === 0 || gateways.includes('mesh');
  checkHosts(spec, path, findings, mesh);
  if (gateways.every((g) => g === 'mesh')) checkNoClaimRouting(spec, path, findings);
  if (!spec.http?.length && !spec.tls?.length && !spec.tcp?.length)
    findings.error(
      path,
      'http, tcp or tls must be provided in virtual service',
      'such as http: [{route: [{destination: {host: reviews}}]}]',
    );
  for (const [index, route] of (spec.http ?? []).entries()) checkHttpRoute(route, item(child(path, 'http'), index), findings, delegate);
  for (const [index, route] of (spec.tls ?? []).entries()) checkTlsRoute(route, item(child(path, 'tls'), index), findings, hosts, mesh);
  for (const [index, route] of (spec.tcp ?? []).entries()) checkTcpRoute(route, item(child(path, 'tcp'), index), findings);
  const rules = { namespace: context.namespace, allowNone: false, ownNamespaceOnly: false };
  checkExportTo(spec.exportTo, child(path, 'exportTo'), findings, rules);
  warnUnusedRules(spec, path, findings);
};

const checkDelegate = (spec: VirtualService, path: string, findings: Findings): void => {
  const none = (field: 'gateways' | 'tls' | 'tcp', what: string): void => {
    if (!spec[field]?.length) return;
    findings.error(child(path, field), `a virtual service without hosts is a delegate and must have no ${what}`, 'did you forget "hosts"?');
  };
  none('gateways', 'gateways');
  none('tls', 'tls routes');
  none('tcp', 'tcp routes');
};

const checkHosts = (spec: VirtualService, path: string, findings: Findings, mesh: boolean): void => {
  const hosts = spec.hosts ?? [];
  const sni = (spec.tls ?? []).some((t) => (t.match ?? []).some((m) => (m.sniHosts ?? []).length > 0));
  let valid = true;
  for (const [index, host] of hosts.entries()) {
    const at = item(child(path, 'hosts'), index);
    const failure = mesh ? checkWildcardDomain(host) : checkGatewayBoundDomain(host, sni);
    if (failure !== undefined && !isIp(host)) {
      findings.error(at, failure);
      valid = false;
    } else if (mesh && host === '*') {
      findings.error(at, 'wildcard host * is not allowed for virtual services bound to the mesh gateway', 'name a gateway in "gateways"');
      valid = false;
    }
  }
  if (!valid) return;
  for (const [index, host] of hosts.entries()) {
    const twin = hosts.slice(0, index).find((other) => hostsOverlap(other, host));
    if (twin !== undefined) findings.error(item(child(path, 'hosts'), index), `duplicate hosts in virtual service: ${twin} & ${host}`);
  }
};

const checkNoClaimRouting = (spec: VirtualService, path: string, findings: Findings): void => {
  for (const [ruleIndex, rule] of (spec.http ?? []).entries()) {
    for (const [matchIndex, match] of (rule.match ?? []).entries()) {
      for (const field of ['headers', 'withoutHeaders'] as const) {
        for (const name of Object.keys(match[field] ?? {})) {
          if (routingClaim(name) === undefined) continue;
          const at = child(child(item(child(item(child(path, 'http'), ruleIndex), 'match'), matchIndex), field), name);
          findings.error(at, `JWT claim based routing (key: ${name}) is only supported for gateways`, 'name a gateway in "gateways"');
        }
      }
    }
  }
};

const checkTcpRoute = (route: TcpRoute, path: string, findings: Findings): void => {
  for (const [index, match] of (route.match ?? []).entries()) checkL4Match(match, item(child(path, 'match'), index), findings);
  if (!route.route?.length) findings.error(path, 'TCP route is required', 'such as route: [{destination: {host: db}}]');
  checkWeightedDestinations(route.route ?? [], child(path, 'route'), findings);
};

type L4Match = Pick<TlsMatchAttributes, 'destinationSubnets' | 'port' | 'sourceLabels' | 'gateways'>;

const checkL4Match = (match: L4Match, path: string, findings: Findings): void => {
  for (const [index, subnet] of (match.destinationSubnets ?? []).entries()) {
    findings.unless(item(child(path, 'destinationSubnets'), index), checkSubnet(subnet));
  }
  if (match.port !== undefined && match.port !== 0) findings.unless(child(path, 'port'), checkPort(match.port));
  checkLabels(match.sourceLabels, child(path, 'sourceLabels'), findings);
  checkGatewayNames(match.gateways ?? [], child(path, 'gateways'), findings);
};

const checkTlsRoute = (route: TlsRoute, path: string, findings: Findings, hosts: readonly string[], mesh: boolean): void => {
  if (!route.match?.length) findings.error(path, 'TLS route must have at least one match condition');
  for (const [index, match] of (route.match ?? []).entries()) {
    const at = item(child(path, 'match'), index);
    if (!match.sniHosts?.length) findings.error(at, 'TLS match must have at least one SNI host');
    for (const [i, sni] of (match.sniHosts ?? []).entries()) checkSniHost(sni, item(child(at, 'sniHosts'), i), findings, hosts, mesh);
    checkL4Match(match, at, findings);
  }
  if (!route.route?.length) findings.error(path, 'TLS route is required', 'such as route: [{destination: {host: web}}]');
  checkWeightedDestinations(route.route ?? [], child(path, 'route'), findings);
};

const checkSniHost = (sni: string, path: string, findings: Findings, hosts: readonly string[], mesh: boolean): void => {
  const failure = mesh ? checkWildcardDomain(sni) : checkGatewayBoundDomain(sni, true);
  if (failure !== undefined) {
    if (isIp(sni))
      findings.warn(path, `using an IP address (${JSON.stringify(sni)}) goes against SNI spec and most clients do not support this`);
    else findings.error(path, failure);
  } else if (!hosts.some((host) => hostWithin(sni, host))) {
    findings.error(
      path,
      `SNI host ${JSON.stringify(sni)} is not a compatible subset of any of the virtual service hosts: [${hosts.join(', ')}]`,
    );
  }
};
