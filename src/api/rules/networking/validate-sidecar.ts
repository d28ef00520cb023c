// What Istio's webhook asks of a Sidecar: listeners that can be bound, hosts of the form namespace/dnsName, one way out.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { Sidecar, SidecarEgressListener, SidecarIngressListener, SidecarPort } from '../../specs.ts';
import {
  checkFqdn,
  checkNoPartialWildcard,
  checkPort,
  checkPortName,
  checkUnixPath,
  checkWildcardDomain,
  isDnsLabel,
} from '../../values/host-name.ts';
import { checkIp } from '../../values/ip-text.ts';
import { checkSelector } from '../../values/label-text.ts';
import { checkProtocol, protocolFamily } from '../../values/protocol-name.ts';
import type { Check } from '../validate-context.ts';
import { checkDestination } from './validate-destination.ts';
import { checkServerTls } from './validate-server-tls.ts';
import { checkConnectionPool } from './validate-traffic-block.ts';

const UNIX = 'unix://';

export const checkSidecar: Check<Sidecar> = (spec, path, findings, context) => {
  if (spec.workloadSelector) checkSelector(spec.workloadSelector.labels, child(path, 'workloadSelector'), findings);
  const { ingress = [], egress = [], inboundConnectionPool, outboundTrafficPolicy } = spec;
  if (ingress.length === 0 && egress.length === 0 && !outboundTrafficPolicy && !inboundConnectionPool)
    findings.error(path, 'empty configuration provided', 'ingress, egress, inboundConnectionPool or outboundTrafficPolicy');
  const ports = new Set<number>();
  for (const [index, listener] of ingress.entries()) checkIngress(listener, item(child(path, 'ingress'), index), findings, ports);
  if (inboundConnectionPool) checkConnectionPool(inboundConnectionPool, child(path, 'inboundConnectionPool'), findings);
  checkEgress(egress, child(path, 'egress'), findings, context.namespace);
  if (outboundTrafficPolicy) checkOutbound(outboundTrafficPolicy, child(path, 'outboundTrafficPolicy'), findings);
};

const checkIngress = (listener: SidecarIngressListener, path: string, findings: Findings, ports: Set<number>): void => {
  // The reader has told of its absence; Istio's rows about decoded input come without that.
  const port: SidecarPort | undefined = listener.port;
  if (!port) {
    findings.error(path, 'port is required for ingress listeners');
    return;
  }
  checkListenerPort(port, child(path, 'port'), findings);
  checkNumber(port, path, findings, ports);
  if (listener.bind) findings.unless(child(path, 'bind'), checkIp(listener.bind));
  if (listener.defaultEndpoint) findings.unless(child(path, 'defaultEndpoint'), checkDefaultEndpoint(listener.defaultEndpoint));
  if (listener.tls) checkIngressTls(listener.tls, port, child(path, 'tls'), findings);
  const pool = listener.connectionPool;
  if (!pool) return;
  checkConnectionPool(pool, child(path, 'connectionPool'), findings);
  const protocol = port.protocol ?? '';
  if (pool.http && protocolFamily(protocol) !== 'http') {
    const message = `port ${port.number ?? 0} is not HTTP (${JSON.stringify(protocol)}): only TCP settings will apply`;
    findings.warn(below(path, 'connectionPool.http'), message);
  }
};

const checkListenerPort = (port: SidecarPort, path: string, findings: Findings): void => {
  if (port.targetPort) findings.error(child(path, 'targetPort'), 'targetPort has no impact on Sidecars');
  if (port.name) findings.unless(child(path, 'name'), checkPortName(port.name));
  findings.unless(child(path, 'protocol'), checkProtocol(port.protocol ?? ''));
};

const checkNumber = (port: SidecarPort, path: string, findings: Findings, ports: Set<number>): void => {
  const at = below(path, 'port.number');
  const number = port.number ?? 0;
  findings.unless(at, checkPort(number));
  if (ports.has(number)) findings.error(at, `ports on IP bound listeners must be unique: ${number} is written twice`);
  ports.add(number);
};

const defaultHosts: ReadonlySet<string> = new Set(['', '127.0.0.1', '0.0.0.0', '[::1]', '[::]']);

const checkDefaultEndpoint = (text: string): string | undefined => {
  if (text.startsWith(UNIX)) return checkUnixPath(text.slice(UNIX.length));
  const colon = text.lastIndexOf(':');
  const form = 'must be of form 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path';
  if (colon === -1 || !defaultHosts.has(text.slice(0, colon))) return `${JSON.stringify(text)} ${form}`;
  const port = text.slice(colon + 1);
  return /^\+?\d+$/.test(port) ? checkPort(Number(port)) : `port ${JSON.stringify(port)} is not a number`;
};

const checkIngressTls = (tls: NonNullable<SidecarIngressListener['tls']>, port: SidecarPort, path: string, findings: Findings): void => {
  const lists = ['subjectAltNames', 'credentialNames', 'tlsCertificates'] as const;
  for (const field of lists) if (tls[field]?.length) findings.error(child(path, field), `${field} is not supported in ingress tls`);
  if (tls.httpsRedirect) findings.error(child(path, 'httpsRedirect'), 'httpsRedirect is not supported in ingress tls');
  if (tls.credentialName) findings.error(child(path, 'credentialName'), 'credentialName is not supported in ingress tls');
  if (tls.mode === 'ISTIO_MUTUAL' || tls.mode === 'AUTO_PASSTHROUGH')
    findings.error(child(path, 'mode'), `cannot set mode to ${tls.mode} in sidecar ingress tls`);
  if (protocolFamily(port.protocol ?? '') !== 'tls') findings.error(path, 'server cannot have TLS settings for non HTTPS/TLS ports');
  checkServerTls(tls, path, findings);
};

const checkEgress = (listeners: readonly SidecarEgressListener[], path: string, findings: Findings, namespace: string): void => {
  const ports = new Set<number>();
  const sockets = new Set<string>();
  for (const [index, listener] of listeners.entries()) {
    const at = item(path, index);
    if (listener.port) checkBound(listener, listener.port, at, findings, { ports, sockets });
    else if (index < listeners.length - 1) findings.error(at, 'the egress listener without port must be the last, and the only one');
    if (!listener.hosts?.length) findings.error(at, 'egress listener must contain at least one host', "hosts: ['./*']");
    checkHosts(listener.hosts ?? [], child(at, 'hosts'), findings, namespace);
  }
};

const checkBound = (
  listener: SidecarEgressListener,
  port: SidecarPort,
  path: string,
  findings: Findings,
  seen: { readonly ports: Set<number>; readonly sockets: Set<string> },
): void => {
  checkListenerPort(port, child(path, 'port'), findings);
  const bind = listener.bind ?? '';
  if (port.number) {
    checkNumber(port, path, findings, seen.ports);
    if (bind !== '') findings.unless(child(path, 'bind'), checkIp(bind));
    return;
  }
  if (bind.startsWith(UNIX)) findings.unless(child(path, 'bind'), checkUnixPath(bind.slice(UNIX.length)));
  else findings.error(child(path, 'port'), 'ports with 0 value must have a unix domain socket bind address', 'bind: unix:///path');
  if (listener.captureMode === 'IPTABLES')
    findings.error(child(path, 'captureMode'), 'captureMode must be DEFAULT or NONE for unix domain socket listeners');
  if (seen.sockets.has(bind)) findings.error(child(path, 'bind'), 'unix domain socket values for listeners must be unique');
  seen.sockets.add(bind);
};

const checkHosts = (hosts: readonly string[], path: string, findings: Findings, namespace: string): void => {
  const byNamespace = new Map<string, Set<string>>();
  for (const [index, host] of hosts.entries()) {
    const at = item(path, index);
    findings.unless(at, checkEgressHost(host));
    const slash = host.indexOf('/');
    // What is excluded is no repetition of what is imported.
    if (slash === -1 || (host.startsWith('~') && slash > 1)) continue;
    const written = host.slice(0, slash);
    const name = host.slice(slash + 1);
    const key = written === '.' ? namespace : written;
    const names = byNamespace.get(key) ?? new Set();
    byNamespace.set(key, names);
    if (names.has('*') || names.has(name) || (name === '*' && names.size > 0)) findings.warn(at, `duplicated egress host: ${host}`);
    names.add(name);
  }
  if (byNamespace.get('*')?.has('*') && byNamespace.size > 1)
    findings.warn(path, '*/* selects all resources, other hosts beside it have no effect');
};

/** `namespace/dnsName`; a namespace of `*`, `.` or `~`, and `~` before a namespace to exclude. */
const checkEgressHost = (text: string): string | undefined => {
  const slash = text.indexOf('/');
  if (slash === -1) return `host ${JSON.stringify(text)} must be of form namespace/dnsName`;
  const written = text.slice(0, slash);
  const name = text.slice(slash + 1);
  if (written === '' || name === '') return 'namespace and dnsName of a host cannot be empty';
  const namespace = written.length > 1 && written.startsWith('~') ? written.slice(1) : written;
  if (!['*', '.', '~'].includes(namespace) && !isDnsLabel(namespace))
    return `invalid namespace value ${JSON.stringify(namespace)} in sidecar`;
  if (name !== '*' && !name.includes('.')) return `short names (non FQDN) are not allowed: ${JSON.stringify(name)}`;
  return checkWildcardDomain(name) ?? checkNoPartialWildcard(name);
};

const checkOutbound = (policy: NonNullable<Sidecar['outboundTrafficPolicy']>, path: string, findings: Findings): void => {
  const proxy = policy.egressProxy;
  if (!proxy) return;
  const at = child(path, 'egressProxy');
  // The mode that an unwritten field means here is the first of the enum.
  if (policy.mode !== 'ALLOW_ANY') {
    findings.error(at, 'egressProxy must be set only with mode ALLOW_ANY');
    return;
  }
  if (!proxy.port) findings.error(at, 'egressProxy must have a port');
  const name = checkFqdn(proxy.host ?? '');
  if (name !== undefined) findings.error(child(at, 'host'), name);
  else checkDestination(proxy, at, findings);
};
