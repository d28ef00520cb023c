// What Istio's webhook asks of a Gateway.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { Gateway, GatewayServer } from '../../specs.ts';
import { checkGatewayServerHost, checkPort, checkUnixPath, isDnsLabel } from '../../values/host-name.ts';
import { checkIp } from '../../values/ip-text.ts';
import { protocolFamily } from '../../values/protocol-name.ts';
import type { Check } from '../validate-context.ts';
import { checkServerTls } from './validate-server-tls.ts';

export const checkGateway: Check<Gateway> = (spec, path, findings, context) => {
  if (!isDnsLabel(context.name))
    findings.error('metadata.name', `invalid gateway name: ${JSON.stringify(context.name)}`, 'a DNS label, without dots');
  const servers = spec.servers ?? [];
  if (servers.length === 0)
    findings.error(
      path,
      'gateway must have at least one server',
      "such as servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]",
    );
  const portNames = new Set<string>();
  const serverNames = new Set<string>();
  for (const [index, server] of servers.entries()) {
    const at = item(child(path, 'servers'), index);
    checkGatewayServer(server, at, findings);
    const port = server.port?.name ?? '';
    if (server.port && portNames.has(port))
      findings.error(below(at, 'port.name'), `port names in servers must be unique: duplicate name ${port}`);
    portNames.add(port);
    const name = server.name ?? '';
    if (name !== '' && serverNames.has(name)) findings.error(child(at, 'name'), `server names must be unique: duplicate name ${name}`);
    serverNames.add(name);
    if (server.tls?.httpsRedirect && protocolFamily(server.port?.protocol ?? '') !== 'http') {
      findings.warn(below(at, 'tls.httpsRedirect'), 'tls.httpsRedirect should only be used with http servers');
    }
  }
};

export const checkGatewayServer = (server: GatewayServer, path: string, findings: Findings): void => {
  if (!server.hosts?.length) findings.error(path, 'server config must contain at least one host', "hosts: ['*'] takes every host");
  for (const [index, host] of (server.hosts ?? []).entries()) {
    findings.unless(
      item(child(path, 'hosts'), index),
      checkGatewayServerHost(host),
      'a full name, "*.example.com" or "*", after "namespace/" if wanted',
    );
  }
  checkGatewayPort(server.port, server.bind ?? '', path, findings);
  checkBind(server, path, findings);
  if (server.tls) checkServerTls(server.tls, child(path, 'tls'), findings);
  const family = protocolFamily(server.port?.protocol ?? '');
  if (family === 'tls' && !server.tls)
    findings.error(path, 'server must have TLS settings for HTTPS/TLS protocols', 'such as tls: {mode: SIMPLE, credentialName: web-cert}');
  if (!server.tls || family === undefined || family === 'tls') return;
  const { mode = 'PASSTHROUGH', caCertificates, privateKey, serverCertificate } = server.tls;
  if (family !== 'http') findings.error(child(path, 'tls'), 'server cannot have TLS settings for non HTTPS/TLS ports');
  else if ((mode !== 'PASSTHROUGH' && mode !== 'AUTO_PASSTHROUGH') || caCertificates || privateKey || serverCertificate) {
    findings.error(child(path, 'tls'), 'server cannot have TLS settings for plain text HTTP ports');
  }
};

export const checkGatewayPort = (port: GatewayServer['port'] | undefined, bind: string, path: string, findings: Findings): void => {
  if (!port) {
    findings.error(path, 'port is required');
    return;
  }
  const at = child(path, 'port');
  const protocol = port.protocol ?? '';
  const family = protocolFamily(protocol);
  if (family === undefined) {
    const hint = 'HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP, TLS';
    findings.error(child(at, 'protocol'), `invalid protocol ${JSON.stringify(protocol)}`, hint);
  }
  const number = port.number ?? 0;
  if (number > 0 || !bind.startsWith('unix://')) findings.unless(child(at, 'number'), checkPort(number));
  if ((port.targetPort ?? 0) > 0) findings.error(child(at, 'targetPort'), 'targetPort has no impact on Gateways');
  if ((port.name ?? '') === '') findings.error(at, 'port name must be set');
};

const checkBind = (server: GatewayServer, path: string, findings: Findings): void => {
  const bind = server.bind ?? '';
  if (bind === '') return;
  if (!bind.startsWith('unix://')) {
    findings.unless(child(path, 'bind'), checkIp(bind));
    return;
  }
  findings.unless(child(path, 'bind'), checkUnixPath(bind.slice('unix://'.length)));
  if ((server.port?.number ?? 0) !== 0) findings.error(below(path, 'port.number'), 'port number must be 0 for unix domain socket');
};
