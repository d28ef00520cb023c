// The fields of Istio's virtual service messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { bool, bytes, double, duration, enumeration, int32, list, map, message, string, uint32 } from './schema.ts';

export const httpRedirectRedirectPortSelection = enumeration(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']);

export const corsPolicyUnmatchedPreflights = enumeration(['UNSPECIFIED', 'FORWARD', 'IGNORE']);

export const stringMatch = message(
  'StringMatch',
  {
    exact: string,
    prefix: string,
    regex: string,
  },
  { oneofs: [['exact', 'prefix', 'regex']] },
);

export const httpMatchRequest = message('HTTPMatchRequest', {
  name: string,
  uri: stringMatch,
  scheme: stringMatch,
  method: stringMatch,
  authority: stringMatch,
  headers: map(stringMatch),
  port: uint32,
  sourceLabels: map(string),
  gateways: list(string),
  queryParams: map(stringMatch),
  ignoreUriCase: bool,
  withoutHeaders: map(stringMatch),
  sourceNamespace: string,
  statPrefix: string,
});

export const portSelector = message('PortSelector', {
  number: uint32,
});

export const destination = message(
  'Destination',
  {
    host: string,
    subset: string,
    port: portSelector,
  },
  { required: ['host'] },
);

export const headersHeaderOperations = message('Headers.HeaderOperations', {
  set: map(string),
  add: map(string),
  remove: list(string),
});

export const headers = message('Headers', {
  request: headersHeaderOperations,
  response: headersHeaderOperations,
});

export const httpRouteDestination = message(
  'HTTPRouteDestination',
  {
    destination: destination,
    weight: int32,
    headers: headers,
  },
  { required: ['destination'] },
);

export const httpRedirect = message(
  'HTTPRedirect',
  {
    uri: string,
    authority: string,
    port: uint32,
    derivePort: httpRedirectRedirectPortSelection,
    scheme: string,
    redirectCode: uint32,
    prefixRewrite: string,
  },
  { oneofs: [['port', 'derivePort']] },
);

export const httpBody = message(
  'HTTPBody',
  {
    string: string,
    bytes: bytes,
  },
  { oneofs: [['string', 'bytes']] },
);

export const httpDirectResponse = message(
  'HTTPDirectResponse',
  {
    status: uint32,
    body: httpBody,
  },
  { required: ['status'] },
);

export const delegate = message('Delegate', {
  name: string,
  namespace: string,
});

export const regexRewrite = message('RegexRewrite', {
  match: string,
  rewrite: string,
});

export const httpRewrite = message('HTTPRewrite', {
  uri: string,
  authority: string,
  uriRegexRewrite: regexRewrite,
});

export const httpRetry = message('HTTPRetry', {
  attempts: int32,
  perTryTimeout: duration,
  retryOn: string,
  retryRemoteLocalities: bool,
  retryIgnorePreviousHosts: bool,
  backoff: duration,
});

export const percent = message('Percent', {
  value: double,
});

export const httpFaultInjectionDelay = message(
  'HTTPFaultInjection.Delay',
  {
    percent: int32,
    fixedDelay: duration,
    exponentialDelay: duration,
    percentage: percent,
  },
  { oneofs: [['fixedDelay', 'exponentialDelay']], deprecated: ['percent'] },
);

export const httpFaultInjectionAbort = message(
  'HTTPFaultInjection.Abort',
  {
    httpStatus: int32,
    grpcStatus: string,
    http2Error: string,
    percentage: percent,
  },
  { oneofs: [['httpStatus', 'grpcStatus', 'http2Error']] },
);

export const httpFaultInjection = message('HTTPFaultInjection', {
  delay: httpFaultInjectionDelay,
  abort: httpFaultInjectionAbort,
});

export const httpMirrorPolicy = message(
  'HTTPMirrorPolicy',
  {
    destination: destination,
    percentage: percent,
  },
  { required: ['destination'] },
);

export const corsPolicy = message(
  'CorsPolicy',
  {
    allowOrigin: list(string),
    allowOrigins: list(stringMatch),
    allowMethods: list(string),
    allowHeaders: list(string),
    exposeHeaders: list(string),
    maxAge: duration,
    allowCredentials: bool,
    unmatchedPreflights: corsPolicyUnmatchedPreflights,
  },
  { deprecated: ['allowOrigin'] },
);

export const httpRoute = message(
  'HTTPRoute',
  {
    name: string,
    match: list(httpMatchRequest),
    route: list(httpRouteDestination),
    redirect: httpRedirect,
    directResponse: httpDirectResponse,
    delegate: delegate,
    rewrite: httpRewrite,
    timeout: duration,
    retries: httpRetry,
    fault: httpFaultInjection,
    mirror: destination,
    mirrors: list(httpMirrorPolicy),
    mirrorPercent: uint32,
    mirrorPercentage: percent,
    corsPolicy: corsPolicy,
    headers: headers,
  },
  { deprecated: ['mirrorPercent'] },
);

export const tlsMatchAttributes = message(
  'TLSMatchAttributes',
  {
    sniHosts: list(string),
    destinationSubnets: list(string),
    port: uint32,
    sourceLabels: map(string),
    gateways: list(string),
    sourceNamespace: string,
  },
  { required: ['sniHosts'] },
);

export const routeDestination = message(
  'RouteDestination',
  {
    destination: destination,
    weight: int32,
  },
  { required: ['destination'] },
);

export const tlsRoute = message(
  'TLSRoute',
  {
    match: list(tlsMatchAttributes),
    route: list(routeDestination),
  },
  { required: ['match'] },
);

export const l4MatchAttributes = message('L4MatchAttributes', {
  destinationSubnets: list(string),
  port: uint32,
  sourceSubnet: string,
  sourceLabels: map(string),
  gateways: list(string),
  sourceNamespace: string,
});

export const tcpRoute = message('TCPRoute', {
  match: list(l4MatchAttributes),
  route: list(routeDestination),
});

export const virtualService = message('VirtualService', {
  hosts: list(string),
  gateways: list(string),
  http: list(httpRoute),
  tls: list(tlsRoute),
  tcp: list(tcpRoute),
  exportTo: list(string),
});
