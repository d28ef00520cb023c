// The workload's key, its request, its certificate over SDS, rotation and refusals.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificateRequest } from '../../src/agent/csr.ts';
import { GrpcChannel } from '../../src/agent/grpc-channel.ts';
import { createLog } from '../../src/base/log.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { Secret } from '../../src/xds/gen/types.ts';
import { ADS_METHOD, CLUSTER_TYPE, PROXY_CONFIG_TYPE, SDS_METHOD, SECRET_TYPE } from '../../src/xds/resource-types.ts';
import type { XdsTransport } from '../../src/xds/transport.ts';
import { createAuthority } from '../proxy/certificates.ts';
import { respond } from './fake-control-plane.ts';
import { type Bench, openStream, TOKEN, withAgent } from './setup.ts';
import { x509 } from './x509.ts';

const IDENTITY = 'spiffe://cluster.local/ns/production/sa/web';
const quiet = createLog(
  'test',
  () => {},
  () => new Date(),
);

test('the certificate request is read and verified by an independent library', async () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const csr = new x509.Pkcs10CertificateRequest(certificateRequest(privateKey, IDENTITY));
  assert.equal(await csr.verify(), true);
  assert.equal(csr.subject, '');
  const [san, ...others] = csr.extensions;
  assert.equal(others.length, 0);
  assert.ok(san instanceof x509.SubjectAlternativeNameExtension);
  assert.equal(san.critical, true);
  assert.deepEqual(san.names.toJSON(), [{ type: 'url', value: IDENTITY }]);
});

test('openssl verifies the request and shows the URI', {
  skip: spawnSync('openssl', ['version']).status !== 0 && 'openssl is not here',
}, () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  // Long enough for lengths of two bytes.
  const uri = `spiffe://${'long-'.repeat(40)}/ns/a/sa/b`;
  const { stdout, stderr } = spawnSync('openssl', ['req', '-verify', '-noout', '-text'], {
    input: certificateRequest(privateKey, uri),
    encoding: 'utf8',
  });
  assert.match(`${stdout}${stderr}`, /verify OK/);
  assert.ok(stdout.includes(`URI:${uri}`));
});

const request = (names: readonly string[], more = {}): Uint8Array =>
  encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: SECRET_TYPE.url, resource_names: names, ...more });

const secretsOf = (bytes: Uint8Array) => {
  const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
  return { response, secrets: (response.resources ?? []) as readonly Secret[] };
};
const text = (b: Uint8Array | undefined): string => Buffer.from(b ?? []).toString('utf8');

const checkRotation = async (transport: XdsTransport): Promise<readonly string[]> => {
  const leaf = openStream(transport, SDS_METHOD);
  leaf.stream.send(request(['default']));
  const first = secretsOf(await leaf.messages.next());
  const chain = text(first.secrets[0]?.tls_certificate?.certificate_chain?.inline_bytes);
  const key = text(first.secrets[0]?.tls_certificate?.private_key?.inline_bytes);
  const certificate = new X509Certificate(chain);
  assert.equal(certificate.subjectAltName, `URI:${IDENTITY}`);
  assert.equal(certificate.checkPrivateKey(createPrivateKey(key)), true);
  assert.equal(chain.match(/BEGIN CERTIFICATE/g)?.length, 1, 'the root does not travel in the chain');
  // An acknowledgement is not answered; the next message is the rotation.
  leaf.stream.send(request(['default'], { version_info: first.response.version_info, response_nonce: first.response.nonce }));
  const second = secretsOf(await leaf.messages.next());
  assert.notEqual(second.response.version_info, first.response.version_info);
  assert.notEqual(
    new X509Certificate(text(second.secrets[0]?.tls_certificate?.certificate_chain?.inline_bytes)).serialNumber,
    certificate.serialNumber,
  );
  const secondKey = text(second.secrets[0]?.tls_certificate?.private_key?.inline_bytes);
  assert.notEqual(secondKey, key, 'every certificate has a key of its own');
  leaf.stream.close();
  return [key, secondKey];
};

test('certificate and root reach subscribers, in process and over the socket, and again at rotation', async () => {
  await withAgent(
    {},
    async ({ dir, control, agent, log }) => {
      const socket = join(dir, 'run', 'xds.sock');
      assert.equal(statSync(socket).mode & 0o777, 0o600);
      const channel = new GrpcChannel({ target: { kind: 'unix', path: socket }, metadata: () => ({}), log: quiet });
      const root = openStream(channel, SDS_METHOD);
      root.stream.send(request(['ROOTCA']));
      const [keys, more] = await Promise.all([checkRotation(agent.transports.sds), checkRotation(channel)]);
      const roots = secretsOf(await root.messages.next()).secrets[0];
      assert.equal(text(roots?.validation_context?.trusted_ca?.inline_bytes).trim(), control.rootPem.trim());
      assert.equal(await control.tokens.next(), `Bearer ${TOKEN}`);
      channel.close();
      const logged = log.join('');
      assert.ok(!logged.includes(TOKEN) && !logged.includes('BEGIN'), 'no token and no PEM in the log');
      for (const name of readdirSync(join(dir, 'run'))) {
        const path = join(dir, 'run', name);
        if (!statSync(path).isFile()) continue;
        for (const key of [...keys, ...more]) assert.ok(!readFileSync(path, 'utf8').includes(key), `${name} holds a key`);
      }
    },
    (control) => {
      control.lifetimeMs = 2_000;
    },
  );
});

test('a subscriber that asks before there is a certificate gets it when it comes; refusals are retried', async () => {
  await withAgent(
    {},
    async ({ control, agent }) => {
      const { messages, stream } = openStream(agent.transports.sds, SDS_METHOD);
      stream.send(request(['default', 'ROOTCA']));
      await control.csrs.next();
      await control.csrs.next();
      assert.equal(agent.ready(), false);
      assert.equal(messages.all.length, 0);
      control.refuse = undefined;
      const { secrets } = secretsOf(await messages.next());
      assert.deepEqual(
        secrets.map((s) => s.name),
        ['default', 'ROOTCA'],
      );
    },
    (control) => {
      control.refuse = 14;
    },
  );
});

test('a certificate for another identity is not used', async () => {
  await withAgent(
    {},
    async ({ control, agent, log }) => {
      const { messages, stream } = openStream(agent.transports.sds, SDS_METHOD);
      stream.send(request(['default']));
      await control.csrs.next();
      await control.csrs.next();
      assert.equal(messages.all.length, 0);
      assert.match(log.join(''), /certificate not issued.*sa\/other, not for/);
    },
    (control) => {
      control.identity = 'spiffe://cluster.local/ns/production/sa/other';
    },
  );
});

test('malformed SDS requests end the stream; other methods are not served', async () => {
  await withAgent({}, async ({ agent }) => {
    const bad = openStream(agent.transports.sds, SDS_METHOD);
    bad.stream.send(Uint8Array.of(0xff));
    assert.equal((await bad.ends.next()).code, 3);
    const other = openStream(agent.transports.ads, '/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats');
    assert.equal((await other.ends.next()).code, 12);
  });
});

test('after a stop the socket is gone', async () => {
  let socket = '';
  await withAgent({}, async ({ dir, agent }) => {
    socket = join(dir, 'run', 'xds.sock');
    await agent.stop();
    assert.equal(existsSync(socket), false);
  });
});

const rootsOf = (bytes: Uint8Array): string => text(secretsOf(bytes).secrets[0]?.validation_context?.trusted_ca?.inline_bytes);
const OTHER_ROOT = `-----BEGIN CERTIFICATE-----
${createAuthority('another root')
  .pem.replace(/-----[^-]+-----/g, '')
  .trim()}
-----END CERTIFICATE-----`;

/** The control plane says what is trusted; the authority may have other roots. */
const trusting = async (
  bench: Bench,
  lifetimeMs: number,
  body: (say: (roots: readonly string[]) => void, next: () => Promise<string>) => Promise<void>,
) => {
  const { control, agent } = bench;
  control.lifetimeMs = lifetimeMs;
  const sds = openStream(agent.transports.sds, SDS_METHOD);
  sds.stream.send(request(['ROOTCA']));
  const ads = openStream(agent.transports.ads, ADS_METHOD);
  ads.stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: CLUSTER_TYPE.url }));
  const { call } = await control.ads.next();
  let nonce = 0;
  const next = async (): Promise<string> => {
    const bytes = await sds.messages.next();
    const { response } = secretsOf(bytes);
    sds.stream.send(request(['ROOTCA'], { version_info: response.version_info, response_nonce: response.nonce }));
    return rootsOf(bytes);
  };
  const say = (roots: readonly string[]): void => {
    nonce += 1;
    const config = { '@type': PROXY_CONFIG_TYPE.url, ca_certificates_pem: [...roots] };
    respond(call, { type_url: PROXY_CONFIG_TYPE.url, version_info: String(nonce), nonce: String(nonce), resources: [config] });
  };
  assert.equal((await next()).trim(), control.rootPem.trim());
  await body(say, next);
};

test('another root is trusted as soon as the control plane says so, and a root that is taken away no longer', async () => {
  await withAgent({}, async (bench) => {
    await trusting(bench, 3_600_000, async (say, next) => {
      say([bench.control.rootPem, OTHER_ROOT]);
      assert.equal(await next(), `${bench.control.rootPem.trim()}\n${OTHER_ROOT}\n`);
      bench.control.refuse = 14;
      const csrs = bench.control.csrs.all.length;
      say([OTHER_ROOT]);
      assert.equal(await next(), `${OTHER_ROOT}\n`, 'our certificate below it lives: it was taken away');
      assert.ok(bench.control.csrs.all.length > csrs, 'and a certificate of a root that is left was asked for at once');
      assert.match(bench.log.join(''), /is not trusted any more: it is replaced/);
    });
  });
});

test('a root that goes when no certificate of ours below it lives is named as replaced', async () => {
  await withAgent(
    {},
    async (bench) => {
      await trusting(bench, 1500, async (say, next) => {
        say([bench.control.rootPem, OTHER_ROOT]);
        await next();
        bench.control.refuse = 14;
        await new Promise((resolve) => setTimeout(resolve, 1600)); // longer than any certificate of ours lives
        say([OTHER_ROOT]);
        const told = await next();
        assert.equal(told, `# retired root ${bench.control.rootPem.replace(/-----[^-]+-----|\s+/g, '')}\n${OTHER_ROOT}\n`);
      });
    },
    (control) => {
      control.lifetimeMs = 1500;
    },
  );
});
