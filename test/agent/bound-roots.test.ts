// Roots that are for one trust domain: what the agent gives to the proxy beside it (Envoy's SPIFFE validator, when and only when there is such
// a root) and to applications that ask the Workload API.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificatesIn } from '../../src/agent/certificate.ts';
import { SecretServer } from '../../src/agent/sds.ts';
import { anchorText } from '../../src/identity/anchor-scope.ts';
import { SecretStore } from '../../src/proxy/transport/secrets.ts';
import { TlsContext } from '../../src/proxy/transport/tls-context.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { Secret, SPIFFECertValidatorConfig } from '../../src/xds/gen/types.ts';
import { SDS_METHOD, SECRET_TYPE } from '../../src/xds/resource-types.ts';
import { createAuthority } from '../proxy/certificates.ts';
import { openStream } from './setup.ts';

const ours = createAuthority('ours').pem;
const theirs = createAuthority('theirs').pem;
const every = createAuthority('every').pem;
const old = createAuthority('old').pem;
const leaf = createAuthority('ours').issue({ uri: 'spiffe://cluster.local/ns/a/sa/b' });

const rootSecret = async (roots: readonly string[], retiredRoots: readonly string[] = []): Promise<Secret> => {
  const server = new SecretServer({ onRejected: () => undefined, onFileProblem: () => undefined });
  try {
    const certificate = { chainPem: leaf.certificate, rootsPem: roots.join('\n'), notBeforeMs: 0, notAfterMs: 0, serial: '1' };
    server.publish({ certificate, privateKeyPem: leaf.key, retiredRoots });
    const { messages, stream } = openStream(server, SDS_METHOD);
    stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: SECRET_TYPE.url, resource_names: ['ROOTCA'] }));
    const { resources } = decode('envoy.service.discovery.v3.DiscoveryResponse', await messages.next());
    return resources?.[0] as unknown as Secret;
  } finally {
    server.close();
  }
};

const bundlesOf = ({ validation_context: context }: Secret): readonly (readonly [string, string])[] => {
  const { name, typed_config } = context?.custom_validator_config ?? {};
  assert.equal(name, 'envoy.tls.cert_validator.spiffe');
  const { trust_domains = [] } = typed_config as unknown as SPIFFECertValidatorConfig;
  return trust_domains.map((d) => [d.name ?? '', Buffer.from(d.trust_bundle?.inline_bytes ?? []).toString()]);
};
const bare = (pem: string): string => pem.trim();
const OWN = ['cluster.local', 'old.local'];

test('roots that are for every trust domain are one list, as ever', async () => {
  const { validation_context: context } = await rootSecret([ours, theirs]);
  assert.equal(context?.custom_validator_config, undefined);
  assert.deepEqual(certificatesIn(Buffer.from(context?.trusted_ca?.inline_bytes ?? []).toString()).map(bare), [ours, theirs].map(bare));
});

test('a root that is for one trust domain gives every trust domain a bundle of its own', async () => {
  const secret = await rootSecret([
    anchorText({ pem: ours, trustDomains: OWN }),
    anchorText({ pem: theirs, trustDomains: ['partner.test'] }),
    anchorText({ pem: every, trustDomains: undefined }),
  ]);
  assert.equal(secret.validation_context?.trusted_ca, undefined);
  assert.deepEqual(
    bundlesOf(secret).map(([name, text]) => [name, ...certificatesIn(text).map(bare)]),
    [...OWN.map((name) => [name, bare(ours), bare(every)]), ['partner.test', bare(theirs), bare(every)]],
  );
  const secrets = new SecretStore();
  secrets.set(secret);
  const context = new TlsContext({ validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: { ads: {} } } }, secrets, 'tls');
  assert.ok(context.material?.spiffe !== undefined, 'the proxy takes it');
});

test('a root that was replaced in good order is named in the bundles that it was of', async () => {
  const secret = await rootSecret(
    [anchorText({ pem: ours, trustDomains: OWN }), anchorText({ pem: theirs, trustDomains: ['partner.test'] })],
    [anchorText({ pem: old, trustDomains: OWN })],
  );
  assert.deepEqual(
    bundlesOf(secret).map(([name, text]) => [name, text.startsWith('# retired root MI')]),
    [...OWN.map((name) => [name, true]), ['partner.test', false]],
  );
});
