// The two ends of a request that somebody asks about: who sends it, where it arrives, and what had to be assumed.

import { err, ok, type Result } from '../base/result.ts';
import type { Instance } from '../mesh/instance.ts';
import type { AuthzQuery, RequestFacts } from './asked-request.ts';
import { type Destination, findDestination, findWorkload } from './find-workload.ts';
import { type KnownMesh, spiffeOf } from './known-mesh.ts';

export interface AskedEnds {
  readonly workload: Instance;
  readonly facts: RequestFacts;
  readonly assumptions: readonly string[];
}

/** An address that nobody has, for sources of which only the identity is told. */
const SOMEWHERE = '203.0.113.1';

export const findEnds = (mesh: KnownMesh, query: AuthzQuery): Result<AskedEnds, string> => {
  const to = findDestination(mesh, query.to);
  if (!to.ok) return to;
  const source = findSource(mesh, query);
  if (!source.ok) return source;
  const { workload, port } = to.value;
  const assumptions = [...source.value.assumptions];
  if (to.value.others > 0)
    assumptions.push(
      `${query.to} has ${to.value.others} more workload${to.value.others === 1 ? '' : 's'} behind it: name one to ask about that`,
    );
  const spiffe = workload.meshed ? source.value.spiffe : undefined;
  const tcp = query.tcp === true;
  const facts: RequestFacts = {
    spiffe,
    sourceIp: source.value.ip,
    destinationIp: workload.address,
    destinationPort: port,
    sni: query.sni ?? (spiffe === undefined ? '' : sniOf(to.value)),
    tcp,
    method: query.method ?? 'GET',
    path: query.path ?? '/',
    host: query.host ?? hostOf(to.value),
    headers: query.headers ?? {},
  };
  if (!tcp) assumptions.push(...assumedRequest(query, facts));
  return ok({ workload, facts, assumptions });
};

const assumedRequest = (query: AuthzQuery, facts: RequestFacts): readonly string[] => {
  const out: string[] = [];
  if (query.method === undefined) out.push('method GET');
  if (query.path === undefined) out.push('path /');
  if (query.host === undefined) out.push(`host ${facts.host}`);
  if (query.claims !== undefined && query.token === undefined) out.push('the token with these claims is signed by a key of its issuer');
  return out;
};

const sniOf = ({ service, servicePort }: Destination): string =>
  service === undefined ? '' : `outbound_.${servicePort}_._.${service.host}`;

const hostOf = ({ service, servicePort, workload, port }: Destination): string =>
  service === undefined ? `${workload.address}:${port}` : servicePort === 80 ? service.host : `${service.host}:${servicePort}`;

interface Source {
  readonly spiffe: string | undefined;
  readonly ip: string;
  readonly assumptions: readonly string[];
}

const findSource = (mesh: KnownMesh, query: AuthzQuery): Result<Source, string> => {
  const said = principalOf(mesh, query);
  if (query.from === undefined) {
    if (query.plaintext === true || said === undefined) {
      const assumptions = query.plaintext === true ? [] : ['the source has no identity: plain text'];
      return ok({ spiffe: undefined, ip: query.ip ?? SOMEWHERE, assumptions: [...assumptions, ...noAddress(query)] });
    }
    return ok({ spiffe: said, ip: query.ip ?? addressOf(mesh, said) ?? SOMEWHERE, assumptions: noAddress(query) });
  }
  if (said !== undefined) return err('give the source as a workload, or by principal, namespace and service account, not both');
  const found = findWorkload(mesh, query.from);
  if (!found.ok) return found;
  const workload = found.value;
  const secure = workload.meshed && query.plaintext !== true;
  const assumptions =
    query.plaintext === true ? [] : [secure ? 'the source uses mutual TLS' : `${workload.name} has no sidecar: plain text`];
  return ok({ spiffe: secure ? spiffeOf(mesh, workload) : undefined, ip: query.ip ?? workload.address, assumptions });
};

const noAddress = ({ ip }: AuthzQuery): readonly string[] => (ip === undefined ? ["the source's address is unknown"] : []);

const principalOf = (mesh: KnownMesh, { principal, namespace, serviceAccount }: AuthzQuery): string | undefined => {
  if (principal !== undefined) return principal.startsWith('spiffe://') ? principal : `spiffe://${principal}`;
  if (namespace === undefined && serviceAccount === undefined) return undefined;
  return spiffeOf(mesh, { namespace: namespace ?? 'default', serviceAccount: serviceAccount ?? 'default' });
};

const addressOf = (mesh: KnownMesh, spiffe: string): string | undefined =>
  mesh.instances.find((i) => i.meshed && spiffeOf(mesh, i) === spiffe)?.address;
