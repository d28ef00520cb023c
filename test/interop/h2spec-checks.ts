// h2spec (RFC 7540 and 7541, 146 cases) against listeners: h2c and TLS with ALPN on a proxy alone, h2c on a sidecar's own inbound listener.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Mesh, type Ran, run } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import { createAuthority } from '../proxy/certificates.ts';
import { BareProxy, clusterTo, httpFilter, listenerOn, type ProxyKind, serverTls } from './bare-proxy.ts';
import { startPeer } from './peer-process.ts';
import { TOOL_FOLDER, tool } from './tools.ts';

const SECTIONS = ['generic', 'hpack', 'http2'] as const;
const args = (host: string, port: number, section: string, ...more: readonly string[]): string[] => [
  ...['-h', host, '-p', String(port), '-P', '/small', '-o', '2', ...more],
  section,
];

export const whyNoH2spec = (): string | undefined => (tool('h2spec') === undefined ? `there is no h2spec in ${TOOL_FOLDER}` : undefined);

export const h2specBareChecks = async (suite: Suite, kind: ProxyKind, named: Named): Promise<void> => {
  const program = tool('h2spec');
  if (program === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'skein-h2spec-'));
  const peer = await startPeer('web-server.ts', folder);
  const { certificate, key } = createAuthority('interop').issue({ dns: 'localhost', ip: '127.0.0.1' });
  let proxy: BareProxy | undefined;
  try {
    proxy = await BareProxy.start({
      kind,
      name: 'h2spec',
      folder,
      bootstrap: {
        static_resources: {
          clusters: [clusterTo('app', [peer.port])],
          listeners: [
            listenerOn('plain', httpFilter('app', { codec_type: 'HTTP2' })),
            listenerOn('tls', httpFilter('app', { codec_type: 'AUTO' }), serverTls(certificate, key)),
          ],
        },
      },
    });
    const ports = { plain: await proxy.port('plain'), tls: await proxy.port('tls') };
    for (const listener of ['plain', 'tls'] as const) {
      const port = ports[listener];
      for (const section of SECTIONS)
        await suite.check(named(`h2spec ${section}, ${listener === 'tls' ? 'TLS with ALPN h2' : 'h2c'}`), async () =>
          verdict(
            await run(program, args('127.0.0.1', port, section, ...(listener === 'tls' ? ['-t', '-k'] : []))),
            kind === 'envoy' ? ENVOY_DEPARTS : [],
          ),
        );
    }
  } finally {
    await proxy?.stop();
    peer.stop();
    rmSync(folder, { recursive: true, force: true });
  }
};

/** From outside the mesh: the permissive inbound listener finds out by itself that it is HTTP/2. */
export const h2specMeshChecks = async (suite: Suite, mesh: Mesh, kind: ProxyKind, named: Named): Promise<void> => {
  if (tool('h2spec') === undefined) return;
  const { address } = await mesh.workload('web');
  for (const section of SECTIONS)
    await suite.check(named(`h2spec ${section}, h2c at a sidecar’s inbound listener`), async () =>
      verdict(await mesh.exec('outsider', 'h2spec', ...args(address, 8081, section)), kind === 'envoy' ? ENVOY_DEPARTS : NOT_HTTP2_AT_ALL),
    );
};

/** Where the listener finds out the protocol itself, a wrong preface is HTTP/1.1 and is answered as such. */
const NOT_HTTP2_AT_ALL = ['Sends invalid connection preface'];
/** What Envoy 1.40 does otherwise than RFC 7540 asks; nothing of this is forgiven to our own proxy. */
const ENVOY_DEPARTS = [
  ...NOT_HTTP2_AT_ALL,
  'Sends a GOAWAY frame',
  'closed: Sends a DATA frame after sending RST_STREAM frame',
  'closed: Sends a HEADERS frame after sending RST_STREAM frame',
  'closed: Sends a DATA frame',
  'closed: Sends a HEADERS frame',
  'Sends stream identifier that is numerically smaller than previous',
  'Sends PRIORITY frame that depend on itself',
  'Sends a PRIORITY frame with 0x0 stream identifier',
  'Sends a PRIORITY frame with a length other than 5 octets',
  'Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream',
  'Sends a GOAWAY frame with unknown error code',
];

const verdict = ({ code, out, err }: Ran, forgiven: readonly string[]): string => {
  const [, tests = '0', passed = '0', skipped = ''] = /(\d+) tests, (\d+) passed, (\d+) skipped, \d+ failed/.exec(out) ?? [];
  expect(Number(tests) > 0, `exit ${code}: ${out.slice(-1500)}${err}`);
  const at = out.indexOf('Failures:');
  const failures = at < 0 ? '' : out.slice(at + 10).trim();
  const titles = [...failures.matchAll(/× \d+: (.*)/g)].map(([, title = '']) => title.trim());
  expect(code === 0 || titles.length > 0, `exit ${code}: ${out.slice(-1500)}${err}`);
  const wrong = titles.filter((title) => !forgiven.includes(title));
  expect(wrong.length === 0, `${titles.length} of ${tests} failed, ${wrong.length} of them count: ${wrong.join('; ')}\n${failures}`);
  const excused = titles.length === 0 ? '' : `, not judged: ${titles.join('; ')}`;
  return `${passed} of ${tests}${skipped === '0' ? '' : `, ${skipped} skipped`}${excused}`;
};
