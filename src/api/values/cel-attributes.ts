// The attributes that an expression of a Telemetry may name, as Envoy knows them. A name that none has is no mistake of the language: it never
// has a value, so a filter logs nothing and a label says `unknown`. Which headers, keys and fields there are below them is not known here.

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

const OF_CERTIFICATES = `tls_version subject_local_certificate subject_peer_certificate uri_san_local_certificate uri_san_peer_certificate
  dns_san_local_certificate dns_san_peer_certificate sha256_peer_certificate_digest`;

export const CEL_NAMES: Readonly<Record<string, ReadonlySet<string>>> = {
  request: words(`path url_path query host scheme method protocol headers referer useragent id time duration size total_size`),
  response: words(`code code_details flags backend_latency headers trailers grpc_status size total_size`),
  source: words('address port'),
  destination: words('address port'),
  connection: words(`id mtls requested_server_name termination_details transport_failure_reason ${OF_CERTIFICATES}`),
  upstream: words(
    `address port local_address locality transport_failure_reason request_attempt_count cx_pool_ready_duration ${OF_CERTIFICATES}`,
  ),
  xds: words(`cluster_name cluster_metadata route_name route_metadata virtual_host_name virtual_host_metadata upstream_host_metadata
    upstream_host_locality_metadata filter_chain_name listener_metadata listener_direction node`),
};

const TEXT = /(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/gs;
const ATTRIBUTE = /(?<![\w.])([a-z]+)\s*\.\s*([A-Za-z_]\w*)/g;

/** What no attribute is called, in words; undefined: nothing is. */
export const unknownAttribute = (expression: string): string | undefined => {
  for (const [, root = '', name = ''] of expression.replaceAll(TEXT, "''").matchAll(ATTRIBUTE)) {
    const known = Object.hasOwn(CEL_NAMES, root) ? CEL_NAMES[root] : undefined;
    if (known !== undefined && !known.has(name)) return `no attribute is called ${root}.${name}: it never has a value`;
  }
  return undefined;
};
