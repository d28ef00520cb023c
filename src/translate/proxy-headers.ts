// Headers that a proxy adds by itself, as `proxyHeaders` of its ProxyConfig switches them on and off.

import type { MeshProxyConfig } from '../api/mesh-config/mesh-config.ts';
import type { HttpConnectionManager } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { Side } from './istio-filters.ts';
import { mayUnderstand } from './proxy-node.ts';
import { proxySetting } from './proxy-settings.ts';

type ProxyHeaders = NonNullable<MeshProxyConfig['proxyHeaders']>;

const SERVER = 'istio-envoy';
const PRESERVE_CASE = 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig';

export const proxyHeaders = (c: Pick<Context, 'mesh' | 'node'>): ProxyHeaders => proxySetting(c.mesh, c.node, 'proxyHeaders') ?? {};

/** Of every connection manager. What is not said is what Istio's proxies do. */
export const headerOptions = (c: Context, side: Side): HttpConnectionManager => {
  const h = proxyHeaders(c);
  return {
    ...serverHeader(h, side),
    ...(h.requestId?.disabled === true ? { generate_request_id: false } : {}),
    ...(h.xForwardedPort?.enabled === true ? { append_x_forwarded_port: true } : {}),
  };
};

/** Calls of a sidecar's own application are answered in the name of the server that was called. */
const serverHeader = (h: ProxyHeaders, side: Side): HttpConnectionManager => {
  if (h.server?.disabled === true) return { server_header_transformation: 'PASS_THROUGH' };
  const name = h.server?.value ?? '';
  if (name !== '') return { server_name: name };
  return side === 'outbound' ? {} : { server_name: SERVER };
};

/** Who called, as a sidecar tells its application. */
export const inboundClientCertificate = (c: Context): HttpConnectionManager => {
  const { forwardedClientCert, setCurrentClientCertDetails } = proxyHeaders(c);
  const forward = forwardedClientCert === undefined || forwardedClientCert === 'UNDEFINED' ? 'APPEND_FORWARD' : forwardedClientCert;
  return {
    forward_client_cert_details: forward,
    set_current_client_cert_details:
      setCurrentClientCertDetails === undefined ? { subject: true, dns: true, uri: true } : setCurrentClientCertDetails,
  };
};

/** Of virtual hosts: servers are told which try it is. */
export const attemptCount = (c: Context): { readonly include_request_attempt_count?: true } =>
  proxyHeaders(c).attemptCount?.disabled === true ? {} : { include_request_attempt_count: true };

/** Of HTTP/1 on both sides of a proxy: names are written as they came. Undefined where nobody asks, or the proxy does not know how. */
export const preservedCase = (c: Pick<Context, 'mesh' | 'node'>): Readonly<Record<string, unknown>> | undefined =>
  proxyHeaders(c).preserveHttp1HeaderCase === true && mayUnderstand(c.node, PRESERVE_CASE)
    ? {
        header_key_format: {
          stateful_formatter: { name: 'preserve_case', typed_config: { '@type': `type.googleapis.com/${PRESERVE_CASE}` } },
        },
      }
    : undefined;
