// What a mesh does not switch on by itself, on a proxy alone: WebSocket over HTTP/2 (RFC 8441) in every pairing, trailers over HTTP/1.1.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, run } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import { BareProxy, clusterTo, HTTP_OPTIONS, http2Upstream, httpFilter, listenerOn, type ProxyKind } from './bare-proxy.ts';
import { memoryChecks } from './memory-checks.ts';
import { startPeer } from './peer-process.ts';

const trailersUpstream = {
  typed_extension_protocol_options: {
    [HTTP_OPTIONS]: {
      '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
      explicit_http_config: { http_protocol_options: { enable_trailers: true } },
    },
  },
};
const inbound = (cluster: string): object =>
  httpFilter(cluster, {
    codec_type: 'AUTO',
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    http_protocol_options: { enable_trailers: true },
    http2_protocol_options: { allow_connect: true },
  });

export const bareChecks = async (suite: Suite, kind: ProxyKind, named: Named): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-bare-'));
  const peer = await startPeer('web-server.ts', folder);
  let proxy: BareProxy | undefined;
  try {
    const started = await suite.check(
      named('a proxy alone with extended CONNECT and HTTP/1.1 trailers starts'),
      async () => {
        proxy = await BareProxy.start({
          kind,
          name: 'bare',
          folder,
          bootstrap: {
            static_resources: {
              clusters: [
                clusterTo('h1', [peer.port], trailersUpstream),
                clusterTo('h2', [peer.portH2], http2Upstream({ allow_connect: true })),
              ],
              listeners: [
                listenerOn('to-h1', inbound('h1')),
                listenerOn('to-h2', inbound('h2')),
                listenerOn('http10', httpFilter('h1', { http_protocol_options: { accept_http_10: true } })),
              ],
            },
          },
        });
        return undefined;
      },
      'always',
    );
    if (!started || proxy === undefined) return;
    await webSockets(suite, proxy, named);
    await trailers(suite, proxy, named);
    await http10(suite, proxy, named);
    await memoryChecks(suite, proxy, named);
  } finally {
    await proxy?.stop();
    peer.stop();
    rmSync(folder, { recursive: true, force: true });
  }
};

const webSockets = async (suite: Suite, proxy: BareProxy, named: Named): Promise<void> => {
  const program = join(ROOT, 'test/interop/peers/websocket-client.ts');
  for (const from of ['h1', 'h2'] as const)
    for (const to of ['h1', 'h2'] as const) {
      const way = (version: string): string => (version === 'h1' ? 'HTTP/1.1 upgrade' : 'RFC 8441');
      await suite.check(named(`WebSocket, ${way(from)} to ${way(to)}`), async () => {
        const port = await proxy.port(`to-${to}`);
        const { code, out, err } = await run('sh', [join(ROOT, 'scripts/node'), program, from, '127.0.0.1', String(port)]);
        expect(code === 0, `exit ${code}: ${out}${err}`.slice(-800));
        return out.trim();
      });
    }
};

const trailers = async (suite: Suite, proxy: BareProxy, named: Named): Promise<void> => {
  for (const to of ['h1', 'h2'] as const) {
    await suite.check(named(`HTTP/1.1 request trailers reach ${to === 'h1' ? 'an HTTP/1.1' : 'an HTTP/2'} server`), async () => {
      const call = request({ port: await proxy.port(`to-${to}`), path: '/digest', method: 'POST', headers: { trailer: 'x-sum' } });
      call.write('some');
      call.addTrailers({ 'x-sum': '42' });
      call.end();
      const [, text] = await answered(call);
      expect(text.includes('"x-sum":"42"') && text.includes('"length":4'), text);
      return undefined;
    });
    await suite.check(
      named(`response trailers of ${to === 'h1' ? 'an HTTP/1.1' : 'an HTTP/2'} server reach an HTTP/1.1 client`),
      async () => {
        const call = request({ port: await proxy.port(`to-${to}`), path: '/trailers', headers: { te: 'trailers' } });
        call.end();
        const [response] = await answered(call);
        expect(response.trailers['x-checksum'] === 'c0ffee', JSON.stringify(response.trailers));
        return undefined;
      },
    );
  }
};

const answered = async (call: ReturnType<typeof request>): Promise<[IncomingMessage, string]> => {
  const [response] = (await once(call, 'response', { signal: AbortSignal.timeout(5000) })) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return [response, text];
};

const http10 = async (suite: Suite, proxy: BareProxy, named: Named): Promise<void> => {
  const ask = async (listener: string, path: string, format: string) => {
    const { code, out, err } = await run('curl', [
      '-sS',
      '--http1.0',
      '-w',
      format,
      `http://127.0.0.1:${await proxy.port(listener)}${path}`,
    ]);
    expect(code === 0, `exit ${code}: ${err}`);
    return out;
  };
  await suite.check(named('curl, HTTP/1.0 where it is allowed: the answer has no chunks and the connection ends'), async () => {
    const text = await ask('http10', '/trailers', '%{http_code} %header{transfer-encoding}');
    expect(text === 'body\n200 ', JSON.stringify(text));
    return undefined;
  });
  await suite.check(named('curl, HTTP/1.0 where it is not allowed: 426'), async () => {
    const text = await ask('to-h1', '/small', '%{http_code}');
    expect(text.endsWith('426'), text);
    return undefined;
  });
};
