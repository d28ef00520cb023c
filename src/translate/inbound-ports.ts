// The application ports of the node's own workload that services expose, found by the workload's addresses.

import { compareAge } from '../mesh/order.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import type { Context } from './context.ts';

export interface InboundPort {
  readonly targetPort: number;
  /** The oldest service on the port: its protocol and policy are used. */
  readonly service: Service;
  readonly servicePort: ServicePort;
  readonly services: readonly Service[];
}

/** Sorted by application port. */
export const inboundPorts = (c: Context): readonly InboundPort[] => {
  const byTarget = new Map<number, { readonly service: Service; readonly port: ServicePort }[]>();
  for (const i of c.snapshot.services.at(c.node.ipAddresses, c.node.workloadNamespace)) {
    const port = i.service.ports[i.portIndex];
    if (port === undefined || port.protocol === 'UDP') continue;
    const list = byTarget.get(i.endpoint.port);
    if (list === undefined) byTarget.set(i.endpoint.port, [{ service: i.service, port }]);
    else list.push({ service: i.service, port });
  }
  const out: InboundPort[] = [];
  for (const [targetPort, list] of [...byTarget.entries()].sort((a, b) => a[0] - b[0])) {
    list.sort((a, b) => compareAge(a.service, b.service) || a.port.port - b.port.port);
    const first = list[0];
    if (first !== undefined)
      out.push({ targetPort, service: first.service, servicePort: first.port, services: [...new Set(list.map((l) => l.service))] });
  }
  return out;
};
