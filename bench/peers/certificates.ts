// Certificates for the peers that are not a mesh: a CA and one leaf for both hops, P-256 as the mesh's own, and a client's certificate
// signed by the mesh's CA for the idle connections.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const openssl = (dir: string, line: string): void => {
  const done = spawnSync('openssl', line.split(' '), { cwd: dir, encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`openssl ${line}: ${done.stderr}`);
};

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

/** `leaf.pem` and `leaf-key.pem` in `dir`, with the SPIFFE id as URI. */
export const issue = (dir: string, ca: { readonly cert: string; readonly key: string }, spiffeId: string): void => {
  openssl(dir, `req ${NEW_KEY} -keyout leaf-key.pem -out leaf.csr -subj /CN=bench`);
  writeFileSync(
    join(dir, 'leaf.ext'),
    `subjectAltName=URI:${spiffeId},DNS:bench\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n`,
  );
  openssl(dir, `x509 -req -in leaf.csr -CA ${ca.cert} -CAkey ${ca.key} -set_serial ${Date.now()} -out leaf.pem -days 2 -extfile leaf.ext`);
};

/** `ca.pem`, `leaf.pem`, `leaf-key.pem`, and `both.pem` as haproxy wants it. */
export const makeCertificates = (dir: string, read: (file: string) => string): void => {
  openssl(dir, `req -x509 ${NEW_KEY} -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=bench-ca`);
  issue(dir, { cert: 'ca.pem', key: 'ca-key.pem' }, 'spiffe://cluster.local/ns/bench/sa/client');
  writeFileSync(join(dir, 'both.pem'), read(join(dir, 'leaf.pem')) + read(join(dir, 'leaf-key.pem')), { mode: 0o600 });
};
