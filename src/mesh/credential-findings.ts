// Gateways that name a credential nobody has: handshakes that need it fail, and the client is not told why. Of Secrets it is said which
// entries are missing, never what the others hold. In which namespace a gateway runs is not known here, so any namespace's Secret counts.
// And rules whose credential no sidecar is given.

import type { Problem } from '../api/problem.ts';
import type { DestinationRule } from '../api/specs.ts';
import type { Snapshot } from './snapshot.ts';
import { MESH_GATEWAY, type VirtualServiceRule } from './virtual-services.ts';

const CODE = 'CREDENTIAL_UNKNOWN';
const UNUSED = 'CREDENTIAL_UNUSED';

export const credentialProblems = (snapshot: Snapshot): readonly Problem[] => [
  ...unknownCredentials(snapshot),
  ...unusedCredentials(snapshot),
];

/** A rule for everybody that names a credential: gateways take it, sidecars speak plaintext instead, as under Istio. */
const unusedCredentials = ({ destinationRules, virtualServices }: Snapshot): readonly Problem[] => {
  const behindGateways = new Set(virtualServices.all.filter((r) => r.gateways.some((g) => g !== MESH_GATEWAY)).flatMap(destinationsOf));
  return destinationRules.all
    .filter((rule) => rule.workloadSelector === undefined && !behindGateways.has(rule.host))
    .flatMap((rule) => rule.sources)
    .flatMap((resource) =>
      tlsBlocks(resource.spec).map(({ path, name }): Problem => {
        const message = `sidecars are not given credential ${name}: they call ${resource.spec.host} in plaintext`;
        const hint =
          'select the workloads that need it (workloadSelector.matchLabels), or name files: clientCertificate, privateKey, caCertificates';
        return { code: UNUSED, severity: 'warning', file: resource.origin.file, ...resource.origin.at(path), path, message, hint };
      }),
    );
};

const destinationsOf = ({ http, tcp, tls }: VirtualServiceRule): readonly string[] =>
  [...http, ...tcp, ...tls].flatMap((r) => (r.route ?? []).map((d) => d.destination.host));

type Policy = NonNullable<DestinationRule['trafficPolicy']>;

const tlsBlocks = (spec: DestinationRule): readonly { readonly path: string; readonly name: string }[] => {
  const policies: readonly (readonly [string, Policy | undefined])[] = [
    ['spec.trafficPolicy', spec.trafficPolicy],
    ...(spec.subsets ?? []).map((s, i) => [`spec.subsets[${i}].trafficPolicy`, s.trafficPolicy] as const),
  ];
  const blocks = policies.flatMap(([at, policy]) => [
    [at, policy?.tls] as const,
    ...(policy?.portLevelSettings ?? []).map((p, i) => [`${at}.portLevelSettings[${i}]`, p.tls] as const),
  ]);
  return blocks.flatMap(([at, tls]) => {
    const name = tls?.mode === 'SIMPLE' || tls?.mode === 'MUTUAL' ? (tls.credentialName ?? '') : '';
    return name === '' ? [] : [{ path: `${at}.tls.credentialName`, name }];
  });
};

const unknownCredentials = ({ gateways, secrets }: Snapshot): readonly Problem[] =>
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
