// Whom a person means by `order-service`, `order-service.production`, `order-service-0`, `payment:8080` or
// `payment.production.svc.cluster.local:80`: a running replica, and the port of it that is reached.

import { err, ok, type Result } from '../base/result.ts';
import type { Instance } from '../mesh/instance.ts';
import type { Service } from '../mesh/service.ts';
import type { KnownMesh } from './known-mesh.ts';

export interface Destination {
  readonly workload: Instance;
  /** Of the application. */
  readonly port: number;
  /** By which it was named; a workload may be named itself. */
  readonly service: Service | undefined;
  readonly servicePort: number | undefined;
  /** Other replicas or versions behind the same service were not looked at. */
  readonly others: number;
}

const named = (i: Instance, name: string, namespace: string | undefined): boolean =>
  (i.name === name || i.workload === name) && (namespace === undefined || i.namespace === namespace);

const parts = (text: string): readonly [name: string, namespace: string | undefined] => {
  const [name = '', ...rest] = text.split('.');
  return [name, rest.length === 0 ? undefined : (rest[0] ?? '')];
};

export const findWorkload = (mesh: KnownMesh, text: string): Result<Instance, string> => {
  const [name, namespace] = parts(text);
  const found = mesh.instances.filter((i) => named(i, name, namespace));
  const [first] = found;
  if (first === undefined) {
    const known = [...new Set(mesh.instances.map((i) => `${i.workload || i.name}.${i.namespace}`))].sort();
    return err(`there is no workload "${text}"; there are ${known.slice(0, 20).join(' ') || 'none'}${known.length > 20 ? ' …' : ''}`);
  }
  const namespaces = new Set(found.map((i) => i.namespace));
  if (namespaces.size > 1) return err(`"${text}" is in several namespaces (${[...namespaces].sort().join(', ')}): write ${name}.NAMESPACE`);
  return ok(first);
};

/** A service first, as clients name it; then a workload. */
export const findDestination = (mesh: KnownMesh, text: string): Result<Destination, string> => {
  const colon = /^(.*):(\d+)$/.exec(text);
  const host = colon?.[1] ?? text;
  const port = colon?.[2] === undefined ? undefined : Number(colon[2]);
  const service = findService(mesh, host);
  if (!service.ok) return service;
  if (service.value === undefined) {
    const workload = findWorkload(mesh, host);
    if (!workload.ok) return err(`there is no service "${host}", and ${workload.error}`);
    return workloadPort(mesh, workload.value, port);
  }
  return servicePort(mesh, service.value, port, host);
};

const findService = (mesh: KnownMesh, host: string): Result<Service | undefined, string> => {
  const exact = mesh.snapshot.services.withHost(host)[0];
  if (exact !== undefined) return ok(exact);
  const [name, namespace] = parts(host);
  const found = mesh.snapshot.services.all.filter((s) => s.name === name && (namespace === undefined || s.namespace === namespace));
  const namespaces = new Set(found.map((s) => s.namespace));
  if (namespaces.size > 1) return err(`"${host}" is in several namespaces (${[...namespaces].sort().join(', ')}): write ${name}.NAMESPACE`);
  return ok(found[0]);
};

const servicePort = (mesh: KnownMesh, service: Service, port: number | undefined, text: string): Result<Destination, string> => {
  const known = service.ports.map((p) => p.port);
  const wanted = port ?? (known.length === 1 ? known[0] : undefined);
  if (wanted === undefined) return err(`"${text}" has the ports ${known.join(', ')}: write ${text}:PORT`);
  if (!known.includes(wanted)) {
    // A port of the application was named.
    const workload = findWorkload(mesh, text);
    if (workload.ok && port !== undefined && workload.value.ports.some((p) => p.port === port))
      return workloadPort(mesh, workload.value, port);
    return err(`"${text}" has no port ${wanted}; it has ${known.join(', ') || 'none'}`);
  }
  const endpoints = service.endpoints.get(wanted) ?? [];
  const behind = mesh.instances.filter((i) => endpoints.some((e) => e.address === i.address && e.namespace === i.namespace));
  const [workload] = [...behind].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (workload === undefined) return err(`no workload is behind ${service.host}:${wanted}`);
  const target = endpoints.find((e) => e.address === workload.address)?.port ?? wanted;
  const others = new Set(behind.map((i) => `${i.namespace}/${i.workload}`)).size - 1;
  return ok({ workload, port: target, service, servicePort: wanted, others });
};

const workloadPort = (mesh: KnownMesh, workload: Instance, port: number | undefined): Result<Destination, string> => {
  const served = mesh.snapshot.services.at([workload.address], workload.namespace);
  const known = [...new Set([...workload.ports.map((p) => p.port), ...served.map((s) => s.endpoint.port)])];
  const wanted = port ?? (known.length === 1 ? known[0] : undefined);
  if (wanted === undefined)
    return err(`${workload.name} has the ports ${known.join(', ') || 'none that are known'}: write ${workload.workload}:PORT`);
  const at = served.find((s) => s.endpoint.port === wanted) ?? served.find((s) => s.service.ports[s.portIndex]?.port === wanted);
  const servicePortNumber = at?.service.ports[at.portIndex]?.port;
  return ok({ workload, port: at?.endpoint.port ?? wanted, service: at?.service, servicePort: servicePortNumber, others: 0 });
};
