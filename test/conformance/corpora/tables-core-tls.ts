// Judge of tables/pilot_pkg_networking_core.json: TLS towards a service, written by a rule or inferred.

import type { ClientTLSSettings } from '../../../src/api/specs.ts';
import type { Service } from '../../../src/mesh/service.ts';
import { clusterTls } from '../../../src/translate/cluster-tls.ts';
import type { Context } from '../../../src/translate/context.ts';
import { meshConfigOf } from '../../translate/mesh-fixture.ts';
import { differs, type Row, row, text, texts, type Verdict } from './case.ts';

const MODES = [undefined, 'DISABLE', 'PERMISSIVE', 'STRICT'] as const;
/** A client shows its own certificate only where both sides do. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  SIMPLE: ['caCertificates'],
  MUTUAL: ['privateKey', 'clientCertificate', 'caCertificates'],
};

export const upstreamTls = (r: Row): Verdict => {
  const mode = MODES[Number(r['serviceMTLSMode'] ?? 0)];
  const service: Partial<Service> = {
    host: text(r['sni']),
    namespace: 'n',
    resolution: 'listed',
    endpoints: new Map(),
    subjectAltNames: texts(r['sans']),
    // What is unknown is outside.
    meshExternal: r['meshExternal'] === true || mode === undefined,
  };
  const context = {
    mesh: meshConfigOf({ enableAutoMtls: r['autoMTLSEnabled'] === true }),
    node: { kind: 'sidecar', namespace: 'n', metadata: row(row(r['proxy'])['Metadata']) },
    snapshot: { peerAuthentication: { forNamespace: () => mode } },
    filters: { exchangesMetadata: false },
  } as unknown as Context;
  const tls = r['tls'] === null ? {} : { tls: row(r['tls']) as ClientTLSSettings };
  const input = {
    service: service as Service,
    port: 80,
    policy: tls,
    sni: text(r['sni']),
    http2: false,
    originalDst: false,
    selected: false,
  };
  const { fields } = clusterTls(context, input);
  if (Object.keys(fields).length === 0 || r['want'] === null) return differs(Object.keys(fields).length === 0 ? null : fields, r['want']);
  // The files that the connection is made with, wherever they stand in the message.
  const written = JSON.stringify(fields);
  const known = [row(r['want']), row(r['tls']), row(row(r['proxy'])['Metadata'])].flatMap((o) => Object.values(o).map(text));
  const used = (files: readonly string[]): string[] => [...new Set(files)].filter((f) => f.startsWith('/') && written.includes(f)).sort();
  return differs(
    used(known),
    (FILES[text(row(r['want'])['mode'])] ?? [])
      .map((f) => text(row(r['want'])[f]))
      .filter((f) => f !== '')
      .sort(),
  );
};
