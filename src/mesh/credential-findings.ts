// Gateways that name a credential nobody has: handshakes that need it fail, and the client is not told why. Of Secrets it is said which
// entries are missing, never what the others hold. In which namespace a gateway runs is not known here, so any namespace's Secret counts.

import type { Problem } from '../api/problem.ts';
import type { Snapshot } from './snapshot.ts';

const CODE = 'CREDENTIAL_UNKNOWN';

export const credentialProblems = ({ gateways, secrets }: Snapshot): readonly Problem[] =>
  gateways.flatMap((gateway) =>
    gateway.servers.flatMap((server, i) => {
      const { tls } = server;
      if (tls === undefined) return [];
      const path = `spec.servers[${i}].tls`;
      const several = (tls.credentialNames ?? []).map((name, j) => ({ name, path: `${path}.credentialNames[${j}]` }));
      const pairs = several.length > 0 ? several : [{ name: tls.credentialName ?? '', path: `${path}.credentialName` }];
      const asks = tls.mode === 'MUTUAL' || tls.mode === 'OPTIONAL_MUTUAL';
      const own = tls.caCertCredentialName ?? '';
      const roots = own === '' ? pairs.slice(0, 1) : [{ name: own, path: `${path}.caCertCredentialName` }];
      const missing = [
        ...pairs.filter((p) => isPlain(p.name) && !secrets.hasKeyPair(p.name)).map((p) => ({ ...p, what: 'tls.crt and tls.key' })),
        ...(asks ? roots : [])
          .filter((r) => isPlain(r.name) && !secrets.hasRoots(r.name))
          .map((r) => ({ ...r, what: 'ca.crt, nor one of that name with -cacert behind it' })),
      ];
      return missing.map(
        (m): Problem => ({
          code: CODE,
          severity: 'warning',
          file: gateway.resource.origin.file,
          ...gateway.resource.origin.at(m.path),
          path: m.path,
          message: `no Secret ${m.name} has ${m.what}: connections to ${(server.hosts ?? []).join(', ')} fail`,
          hint: "it belongs in the namespace of the gateway's workload",
        }),
      );
    }),
  );

/** A name of a Secret, not an address of something else. */
const isPlain = (name: string): boolean => name !== '' && !name.includes('://');
