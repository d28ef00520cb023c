// A cluster of the bootstrap as the far end of a gRPC stream: its first endpoint, plain or TLS. Used for the streams that
// configure the proxy itself, which cannot wait for the data plane.
import { readFileSync } from 'node:fs';
import type { Bootstrap, Cluster, DataSource, UpstreamTlsContext } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { GrpcTarget, GrpcTlsOptions } from '../xds/grpc-client.ts';
import { BootstrapError } from './load-bootstrap.ts';

/** Throws BootstrapError when the cluster is missing or is not of a kind that can be dialled. */
export const grpcTarget = (bootstrap: Bootstrap, name: string): GrpcTarget => {
  const cluster = (bootstrap.static_resources?.clusters ?? []).find((c) => c.name === name);
  if (!cluster) throw new BootstrapError(`static_resources.clusters: no cluster is called ${name}`);
  const path = `static_resources.clusters[${name}]`;
  const address = cluster.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address;
  const socket = address?.socket_address;
  const connectTimeoutMs = durationMs(cluster.connect_timeout);
  const common = { tls: tlsOf(cluster, path), ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }) };
  if (address?.pipe?.path) return { address: { path: address.pipe.path }, ...common };
  if (socket?.address && socket.port_value) {
    const { address: host, port_value: port } = socket;
    return { address: { host, port }, authority: `${host.includes(':') ? `[${host}]` : host}:${port}`, ...common };
  }
  throw new BootstrapError(`${path}.load_assignment: names no endpoint address`);
};

const tlsOf = (cluster: Cluster, path: string): GrpcTlsOptions | undefined => {
  const config = cluster.transport_socket?.typed_config;
  if (!config) return undefined;
  const url = '@type' in config ? config['@type'] : config.type_url;
  if (url.endsWith('.RawBuffer')) return undefined;
  if (!url.endsWith('.UpstreamTlsContext')) throw new BootstrapError(`${path}.transport_socket: ${url} is not supported for xDS`);
  const context = config as unknown as UpstreamTlsContext;
  const common = context.common_tls_context;
  const validation = common?.validation_context;
  const certificate = common?.tls_certificates?.[0];
  if (common?.validation_context_sds_secret_config || common?.tls_certificate_sds_secret_configs?.length) {
    throw new BootstrapError(`${path}.transport_socket: SDS secrets are not supported for xDS itself`);
  }
  const names = (validation?.match_typed_subject_alt_names ?? []).map((m) => m.matcher?.exact ?? '').filter((n) => n !== '');
  return {
    serverName: context.sni,
    ca: dataText(validation?.trusted_ca),
    cert: dataText(certificate?.certificate_chain),
    key: dataText(certificate?.private_key),
    subjectAltNames: names,
  };
};

/** The text of a DataSource; undefined when it is not given. */
const dataText = (source: DataSource | undefined): string | undefined => {
  if (!source) return undefined;
  if (source.inline_string !== undefined) return source.inline_string;
  if (source.inline_bytes !== undefined) return Buffer.from(source.inline_bytes).toString('utf8');
  if (source.filename !== undefined) return readFileSync(source.filename, 'utf8');
  if (source.environment_variable !== undefined) return process.env[source.environment_variable];
  return undefined;
};
