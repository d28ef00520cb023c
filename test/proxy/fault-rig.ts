// The stage of the fault table: one listener whose routes lead to a cluster of each row's own, and a client that writes down what it sees.
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import type { TestAuthority } from './certificates.ts';
import type { FaultRow, Outcome } from './fault-table.ts';
import { hcm, listener, RawClient, staticCluster } from './harness.ts';

const SDS_FREE_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';

const tlsSocket = (roots: string, san: string) => ({
  name: 'tls',
  typed_config: {
    '@type': SDS_FREE_TLS,
    sni: 'upstream.test',
    common_tls_context: {
      validation_context: {
        trusted_ca: { inline_string: roots },
        match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: san } }],
      },
    },
  },
});

const wantsTls = (row: FaultRow): boolean =>
  row.listen === 'tls' || row.listen === 'tls-other' || row.listen === 'silent' || row.cluster?.name === 'tls';

const clusterOf = (row: FaultRow, name: string, port: number, roots: string): Cluster => {
  const { name: mark, ...more } = row.cluster ?? {};
  const base = staticCluster(name, row.listen === 'nobody' ? [] : [port], { type: 'STATIC', ...more });
  const withTls = wantsTls(row) ? { ...base, transport_socket: tlsSocket(roots, mark === 'san' ? 'other.test' : 'upstream.test') } : base;
  if (row.listen !== 'name') return withTls;
  const address = { socket_address: { address: 'nothing.invalid', port_value: port } };
  return { ...withTls, load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] } };
};

/** The same resources for whatever data plane plays the table; row `i` has the path `/i/`. */
export const stage = (rows: readonly FaultRow[], ports: readonly number[], roots: string) => {
  const clusters = rows.map((row, i) => clusterOf(row, `c${i}`, ports[i] ?? 0, roots));
  const routes: Route[] = rows.map((row, i) => ({ match: { prefix: `/${i}/` }, route: { cluster: `c${i}`, ...row.route } }));
  return { clusters, listeners: [listener('l', hcm(routes))] };
};

export const issueFor = (authority: TestAuthority) => authority.issue({ dns: 'upstream.test' });

/** A response as a client that trusts framing alone reads it. */
const read = (text: string): Pick<Outcome, 'status' | 'body' | 'view'> => {
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) return { status: 0, body: '', view: 'none' };
    const head = rest.slice(0, end);
    const status = Number(head.slice(9, 12));
    const behind = rest.slice(end + 4);
    if (status === 100) {
      rest = behind;
      continue;
    }
    const length = /\r\ncontent-length: (\d+)/.exec(head)?.[1];
    if (length !== undefined) {
      const body = behind.slice(0, Number(length));
      return { status, body, view: body.length === Number(length) ? 'whole' : 'cut' };
    }
    if (!head.includes('\r\ntransfer-encoding: chunked')) return { status, body: behind, view: 'whole' };
    return { status, ...readChunks(behind) };
  }
};

const readChunks = (text: string): Pick<Outcome, 'body' | 'view'> => {
  let body = '';
  for (let at = 0; ; ) {
    const size = /^([0-9a-f]+)\r\n/.exec(text.slice(at));
    if (size === null) return { body, view: 'cut' };
    const bytes = Number.parseInt(size[1] ?? '', 16);
    at += size[0].length;
    if (bytes === 0) return { body, view: text.slice(at) === '\r\n' ? 'whole' : 'cut' };
    body += text.slice(at, at + bytes);
    at += bytes + 2;
    if (at > text.length) return { body, view: 'cut' };
  }
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Plays row `i` and tells what the client saw; `patienceMs` bounds the wait. */
export const playFault = async (
  row: FaultRow,
  i: number,
  port: number,
  patienceMs: number,
): Promise<Pick<Outcome, 'status' | 'body' | 'view'>> => {
  if (row.before !== undefined) {
    const first = await RawClient.open(port);
    await first.get(`/${i}${row.before}`);
    first.close();
    await pause(60);
  }
  const client = await RawClient.open(port);
  let seen = '';
  client.socket.on('data', (bytes) => {
    seen += bytes.toString('latin1');
  });
  client.send((row.request ?? 'GET PATH HTTP/1.1\r\nhost: a\r\n\r\n').replace('PATH', `/${i}/x`));
  if (row.client === 'ends') client.socket.end();
  for (const until = performance.now() + patienceMs; performance.now() < until && !client.ended && read(seen).view !== 'whole'; ) {
    if (row.client === 'leaves' && seen.endsWith('hello')) break;
    await pause(3);
  }
  client.close();
  return read(seen);
};
