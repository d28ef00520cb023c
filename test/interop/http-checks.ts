// curl, h2load and WebSocket clients through two sidecars with mutual TLS, and through the gateway's TLS.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Mesh, type Ran, ROOT, run } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import { patternBytes, patternDigest } from './peers/pattern.ts';
import { tool } from './tools.ts';

const LARGE_BYTES = 64 * 1024 * 1024;
const HTTP1 = 'http://web:8080';
const HTTP2 = 'http://web:8081';
const WAYS: readonly (readonly [string, readonly string[], string, string])[] = [
  ['HTTP/1.1', ['--http1.1'], HTTP1, '1.1'],
  ['h2c with prior knowledge', ['--http2-prior-knowledge'], HTTP2, '2'],
  ['h2c to an HTTP/1.1 server', ['--http2-prior-knowledge'], HTTP1, '2'],
  ['HTTP/1.1 to an HTTP/2 server', ['--http1.1'], HTTP2, '1.1'],
];

/** Inside the client's workload. The address of `mesh` calls goes through its sidecar. */
const curl = (mesh: Mesh, ...args: readonly string[]): Promise<Ran> => mesh.exec('client', 'curl', '-sS', '--max-time', '50', ...args);

const out = ({ code, out: text, err }: Ran): string => {
  expect(code === 0, `exit ${code}: ${text.slice(-500)}${err.slice(-800)}`);
  return text;
};

export const curlChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const [way, flags, base, version] of WAYS) {
    await suite.check(named(`curl, ${way}: a small answer`), async () => {
      const text = out(await curl(mesh, ...flags, '-w', '%{http_version} %{http_code}', '-o', '/dev/null', `${base}/small`));
      expect(text === `${version} 200`, `${text}, not ${version} 200`);
      return undefined;
    });
    await suite.check(named(`curl, ${way}: ${LARGE_BYTES >> 20} MiB down, byte-exact`), async () => {
      const text = out(
        await mesh.exec('client', 'sh', '-c', `curl -sS --max-time 50 ${flags.join(' ')} '${base}/bytes?n=${LARGE_BYTES}' | sha256sum`),
      );
      expect(text.startsWith(patternDigest(LARGE_BYTES)), `SHA-256 ${text.slice(0, 64)} differs`);
      return undefined;
    });
    await suite.check(named(`curl, ${way}: ${LARGE_BYTES >> 20} MiB up, byte-exact`), () =>
      upload(mesh, [...flags, `${base}/digest`], true),
    );
    await suite.check(named(`curl, ${way}: ${LARGE_BYTES >> 20} MiB up without a length, byte-exact`), () =>
      upload(mesh, [...flags, `${base}/digest`], false),
    );
  }
  for (const where of ['a service', 'a workload’s address'])
    await suite.check(named(`curl, HTTP/1.0 to ${where} is routed and answered`), async () => {
      const host = where === 'a service' ? 'web' : (await mesh.workload('web')).address;
      const url = `http://${host}:8080/small`;
      const text = out(await curl(mesh, '--http1.0', '-w', '%{http_code} %header{server}', '-o', '/dev/null', url));
      expect(text.trim() === '200 envoy', text);
      return undefined;
    });
  await suite.check(named('curl: two requests on one HTTP/1.1 connection'), async () => {
    const text = out(await curl(mesh, '-w', '%{num_connects} ', '-o', '/dev/null', '-o', '/dev/null', `${HTTP1}/small`, `${HTTP1}/small`));
    expect(text.trim() === '1 0', `connections made: ${text}`);
    return undefined;
  });
  await suite.check(named('curl: Expect: 100-continue is answered before the body'), async () => {
    const {
      code,
      out: text,
      err,
    } = await curl(mesh, '-v', '-H', 'Expect: 100-continue', '--expect100-timeout', '20', '-d', 'x'.repeat(5000), `${HTTP1}/digest`);
    expect(code === 0 && err.includes('< HTTP/1.1 100 Continue'), `exit ${code}: ${err.slice(-800)}`);
    expect(text.includes('"length":5000'), text);
    return undefined;
  });
  await suite.check(named('curl: trailers of a response over HTTP/2'), async () => {
    const text = out(await curl(mesh, '--http2-prior-knowledge', '-D', '-', `${HTTP2}/trailers`));
    expect(/\nx-checksum: c0ffee\r?\n/.test(text.slice(text.indexOf('\r\n\r\n'))), `no trailer in ${JSON.stringify(text)}`);
    return undefined;
  });
  await suite.check(named('curl: HEAD has a length and no body'), async () => {
    const text = out(await curl(mesh, '-I', `${HTTP1}/bytes?n=1000`));
    expect(text.startsWith('HTTP/1.1 200 ') && /content-length: 1000/i.test(text), text);
    return undefined;
  });
};

/** With a length; or chunked (on HTTP/2: without a length), as curl sends what it reads from a pipe. */
const upload = async (mesh: Mesh, args: readonly string[], announced: boolean): Promise<undefined> => {
  const file = join(mesh.dir, 'upload');
  if (!existsSync(file)) writeFileSync(file, patternBytes(0, LARGE_BYTES));
  const send = `curl -sS --max-time 50 -X POST ${args.map((a) => `'${a}'`).join(' ')} -T`;
  const text = out(await mesh.exec('client', 'sh', '-c', announced ? `${send} ${file}` : `cat ${file} | ${send} -`));
  const { length, sha256 } = JSON.parse(text) as { length: number; sha256: string };
  expect(length === LARGE_BYTES && sha256 === patternDigest(LARGE_BYTES), `${length} bytes arrived with SHA-256 ${sha256}`);
  return undefined;
};

export const gatewayChecks = async (suite: Suite, mesh: Mesh, named: Named, https: { host: string; port: number }): Promise<void> => {
  const base = `https://gate.test:${https.port}`;
  const common = [
    '-sS',
    '--max-time',
    '50',
    '--cacert',
    join(mesh.dir, 'gateway-ca.pem'),
    '--resolve',
    `gate.test:${https.port}:${https.host}`,
  ];
  for (const [version, flag] of [['2', '--http2'] as const, ['1.1', '--http1.1'] as const]) {
    await suite.check(named(`gateway, TLS: ALPN gives HTTP/${version}`), async () => {
      const text = out(await run('curl', [...common, flag, '-w', '%{http_version} %{http_code}', '-o', '/dev/null', `${base}/small`]));
      expect(text === `${version} 200`, text);
      return undefined;
    });
    await suite.check(named(`gateway, TLS, HTTP/${version}: ${LARGE_BYTES >> 20} MiB down from an HTTP/2 server, byte-exact`), async () => {
      const command = `curl ${[...common, flag].join(' ')} '${base}/h2/bytes?n=${LARGE_BYTES}' | sha256sum`;
      expect(out(await run('sh', ['-c', command])).startsWith(patternDigest(LARGE_BYTES)), 'SHA-256 differs');
      return undefined;
    });
  }
  const h2load = tool('h2load');
  if (h2load === undefined) return;
  await suite.check(named('gateway, TLS: h2load, 4 connections of 8 streams, all succeed'), async () =>
    loadVerdict(await run(h2load, [...H2LOAD, '--connect-to', `${https.host}:${https.port}`, `${base}/small`]), 2000),
  );
};

const H2LOAD = ['-n', '2000', '-c', '4', '-m', '8'];

export const h2loadChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const [what, url] of [['an HTTP/2 server', `${HTTP2}/small`] as const, ['an HTTP/1.1 server', `${HTTP1}/small`] as const])
    await suite.check(named(`h2load to ${what}, 4 connections of 8 streams, all succeed`), async () =>
      loadVerdict(await mesh.exec('client', 'h2load', ...H2LOAD, url), 2000),
    );
  await suite.check(named('h2load, 40 answers of 1 MiB on one connection, 10 streams at a time'), async () =>
    loadVerdict(await mesh.exec('client', 'h2load', '-n', '40', '-c', '1', '-m', '10', `${HTTP2}/bytes?n=1048576`), 40),
  );
};

const loadVerdict = ({ code, out: text, err }: Ran, wanted: number): string => {
  const codes = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text);
  const counts = /(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(text);
  expect(
    code === 0 && Number(codes?.[1]) === wanted && counts?.slice(1).join() === `${wanted},0,0,0`,
    `exit ${code}: ${counts?.[0]}; ${codes?.[0]} ${err.slice(-300)}`,
  );
  return /finished in [\d.]+\w+, [\d.]+ req\/s/.exec(text)?.[0] ?? '';
};

export const webSocketChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  const program = join(ROOT, 'test/interop/peers/websocket-client.ts');
  await suite.check(named('WebSocket, HTTP/1.1 upgrade'), async () =>
    out(await mesh.exec('client', 'node', program, 'h1', 'web', '8080')).trim(),
  );
};
