// The gRPC door for proxies and agents: xDS streams, certificate requests, and the agents' operator stream, on a Unix
// socket, a TCP port, or TLS; spans also over plain HTTP. Messages pass as bytes; who the caller is comes from what it proves (`auth/`), and from nothing else.
// An insecure listener takes callers without a proof for xDS only: certificates are never given to strangers.
import { chmodSync, rmSync } from 'node:fs';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import { CodecError, decode, encode } from '../../xds/codec.ts';
import { ADS_METHOD, DELTA_ADS_METHOD, deltaMethod, RESOURCE_TYPES, streamMethod } from '../../xds/resource-types.ts';
import type { OperatorHub } from '../admin/operator-hub.ts';
import type { Refusal } from '../audit/trail.ts';
import { Attempts, CSR_LIMIT, peerKey } from '../auth/attempts.ts';
import type { Authenticator } from '../auth/authenticator.ts';
import type { Caller } from '../auth/caller.ts';
import { TLS_SCHEME } from '../auth/door-addresses.ts';
import { heldCall } from '../auth/held-call.ts';
import type { TlsDoor } from '../auth/tls-door.ts';
import type { CertificateAuthority } from '../ca/ca.ts';
import { OPERATOR_REPLY_BYTES_MAX, XDS_REQUEST_BYTES_MAX } from '../limits.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import { removeStaleSocket } from '../socket-file.ts';
import { type OtlpCaller, otlpTraces, TRACES_PATH } from '../telemetry/otlp-http.ts';
import type { OpenTelemetryStream } from '../telemetry/receivers.ts';
import { exportResponse, type SpanIntake, type SpanTeller, TRACE_METHOD } from '../telemetry/span-intake.ts';
import type { TokenStore } from '../token-store.ts';
import type { StreamProtocol } from './ads-connection.ts';
import type { AdsService } from './ads-service.ts';
import { type GrpcHandler, type GrpcMethod, GrpcServer, type GrpcServerCall } from './grpc-server.ts';

export interface XdsServerOptions {
  /** `unix:PATH`, `HOST:PORT`, or `tls:HOST:PORT`. */
  readonly address: string;
  /** Callers without a proof are served. */
  readonly insecure: boolean;
  readonly authenticator: Authenticator;
  /** For `tls:` addresses. */
  readonly tls: TlsDoor | undefined;
  readonly ads: AdsService;
  readonly ca: CertificateAuthority;
  readonly operators: OperatorHub;
  readonly tokens: TokenStore;
  readonly trustDomain: () => string;
  readonly metrics: ControlMetrics;
  readonly log: Log;
  /** Told of everybody who is not served. */
  readonly refused?: (refusal: Refusal) => void;
  /** By method: streams by which proxies tell what they did. */
  readonly telemetry?: ReadonlyMap<string, OpenTelemetryStream>;
  /** Undefined: spans are not taken. */
  readonly takeSpans?: SpanIntake;
}

export interface XdsServer {
  /** As bound: a port of 0 is replaced by the one that was given. */
  readonly address: string;
  close(): Promise<void>;
}

export const CREATE_CERTIFICATE_METHOD = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
export const OPERATOR_METHOD = '/skein.v1.Operator/Attach';

/** Rejects when the address cannot be bound. A socket file left by a killed process is replaced. */
export const startXdsServer = async (options: XdsServerOptions): Promise<XdsServer> => {
  const { log, tls, takeSpans } = options;
  const secured = options.address.startsWith(TLS_SCHEME);
  if (secured && !tls) throw new Error(`cannot serve xDS on ${options.address}: there is no certificate for it`);
  const door = { ...options, csrs: new Attempts(CSR_LIMIT, Date.now) };
  const server = new GrpcServer({
    methods: methodsOf(door),
    ...(takeSpans ? { http: new Map([[TRACES_PATH, httpSpans(takeSpans, door)]]) } : {}),
    ...(secured && tls ? { secure: tls.listener } : {}),
    // An agent's answers carry whole configuration dumps; a stranger sends discovery requests only.
    messageBytesMax: options.insecure ? XDS_REQUEST_BYTES_MAX : OPERATOR_REPLY_BYTES_MAX,
    now: Date.now,
    failed: (error) =>
      log.error('a gRPC call could not be served', { problem: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  });
  const path = options.address.startsWith('unix:') ? options.address.slice('unix:'.length) : undefined;
  if (path !== undefined) removeStaleSocket(path);
  const port = await bind(server, options.address, path);
  if (path !== undefined) chmodSync(path, 0o600);
  const address = path === undefined ? options.address.replace(/:\d+$/, `:${port}`) : options.address;
  const close = async (): Promise<void> => {
    await server.close();
    if (path !== undefined) rmSync(path, { force: true });
  };
  return { address, close };
};

const bind = async (server: GrpcServer, given: string, path: string | undefined): Promise<number> => {
  const address = given.startsWith(TLS_SCHEME) ? given.slice(TLS_SCHEME.length) : given;
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  try {
    return await server.listen(path === undefined ? { host, port: Number(address.slice(colon + 1)) } : { path });
  } catch (error) {
    throw new Error(`cannot serve xDS on ${given}: ${error instanceof Error ? error.message : String(error)}`);
  }
};

interface Door extends XdsServerOptions {
  /** Certificate requests of a caller. */
  readonly csrs: Attempts;
}

const methodsOf = (options: Door): ReadonlyMap<string, GrpcMethod> => {
  const methods = new Map<string, GrpcMethod>();
  const discovery = (path: string, protocol: StreamProtocol): void => {
    methods.set(path, (call) => serveDiscovery(call, protocol, options));
  };
  discovery(ADS_METHOD, { delta: false, onlyType: undefined });
  discovery(DELTA_ADS_METHOD, { delta: true, onlyType: undefined });
  for (const type of RESOURCE_TYPES) {
    // Workloads' own keys are the agent's to give; credentials of gateways go with everything else that is theirs, over ADS alone.
    if (type.shortName === 'SDS') continue;
    const [whole, delta] = [streamMethod(type), deltaMethod(type)];
    if (whole !== undefined) discovery(whole, { delta: false, onlyType: type.url });
    if (delta !== undefined) discovery(delta, { delta: true, onlyType: type.url });
  }
  for (const [method, open] of options.telemetry ?? []) methods.set(method, (call) => serveTelemetry(call, open, options));
  const { takeSpans } = options;
  if (takeSpans) methods.set(TRACE_METHOD, (call) => serveSpans(call, takeSpans, options));
  methods.set(OPERATOR_METHOD, (call) => serveOperator(call, options));
  methods.set(CREATE_CERTIFICATE_METHOD, (call) => serveCertificate(call, options));
  return methods;
};

/** Serves the call as its caller, or ends it. Callers that only somebody else can vouch for wait. */
const asCaller = (call: OtlpCaller, joins: boolean, options: Door, serve: (caller: Caller | undefined) => GrpcHandler): GrpcHandler => {
  const admit = (found: Result<Caller | undefined, GrpcStatus>): GrpcHandler => {
    if (found.ok && (found.value !== undefined || options.insecure)) {
      call.known?.();
      return serve(found.value);
    }
    if (joins) options.metrics.count('citadel_server_authentication_failure_count');
    if (found.ok) options.refused?.({ door: 'xds', who: whoIs(undefined, call), reason: 'no proof of an identity' });
    call.end(found.ok ? { code: GRPC.UNAUTHENTICATED, message: 'a workload token is required (authorization: Bearer …)' } : found.error);
    return ENDED;
  };
  const { address, certificate } = call.peer;
  const found = options.authenticator.identify({ authorization: call.metadata('authorization'), certificate, peer: address, joins });
  if (!(found instanceof Promise)) return admit(found);
  return heldCall(call, found.then(admit), (error) => options.log.error('a call failed', { problem: String(error) }));
};

const whoIs = (caller: Caller | undefined, call: OtlpCaller): string =>
  caller === undefined ? call.peer.address : `${caller.namespace}/${caller.serviceAccount}${caller.name === '' ? '' : ` (${caller.name})`}`;

/** Node's longest timer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** An open stream is worth no more than the proof it was opened with. */
const endWithProof = (call: GrpcServerCall, caller: Caller | undefined, { tokens }: XdsServerOptions): (() => void) => {
  if (caller === undefined) return () => undefined;
  const end = (why: string): void => call.end({ code: GRPC.UNAUTHENTICATED, message: why });
  if (caller.stored) return tokens.whenRevoked(caller.stored, () => end('the workload token has been revoked'));
  if (caller.expiresAtMs === undefined) return () => undefined;
  const leftMs = Math.min(TIMER_MS_MAX, Math.max(0, caller.expiresAtMs - Date.now()));
  const timer = setTimeout(() => end(`the ${caller.proof} has expired: come back with a new one`), leftMs);
  timer.unref();
  return () => clearTimeout(timer);
};

const ENDED: GrpcHandler = {
  message: () => undefined,
  halfClosed: () => undefined,
  drained: () => undefined,
  closed: () => undefined,
};

const serveDiscovery = (call: GrpcServerCall, protocol: StreamProtocol, options: Door): GrpcHandler =>
  asCaller(call, false, options, (caller) => {
    const connection = options.ads.open({
      protocol,
      holder: caller,
      send: (pieces) => call.send(pieces),
      writable: () => call.writable,
    });
    const stop = endWithProof(call, caller, options);
    return {
      message: (bytes) => {
        const taken = connection.received(bytes);
        if (taken.ok) return;
        options.log.warning('an xDS stream was refused', { problem: taken.error.message });
        options.refused?.({ door: 'xds', who: whoIs(caller, call), reason: taken.error.message });
        options.metrics.count('pilot_xds_stream_refusals');
        call.end(taken.error);
      },
      halfClosed: () => call.end({ code: GRPC.OK, message: '' }),
      drained: () => connection.drained(),
      closed: () => {
        stop();
        options.ads.closed(connection);
      },
    };
  });

/** A proxy speaks for itself. */
const serveTelemetry = (call: GrpcServerCall, open: OpenTelemetryStream, options: Door): GrpcHandler =>
  asCaller(call, false, options, (caller) => {
    const stream = open((node) => options.ads.speaker(node, caller));
    const stop = endWithProof(call, caller, options);
    return {
      ...ENDED,
      message: (bytes) => {
        const problem = stream.message(bytes);
        if (problem) call.end(problem);
      },
      halfClosed: () => call.end({ code: GRPC.OK, message: '' }),
      closed: stop,
    };
  });

/** A unary call. Sidecars say by their node which replica they are of. */
const serveSpans = (call: GrpcServerCall, take: SpanIntake, options: Door): GrpcHandler =>
  asCaller(call, false, options, (caller) => {
    let asked = false;
    return {
      ...ENDED,
      message: (bytes) => {
        if (asked) return;
        asked = true;
        const taken = take(bytes, spanTeller(caller, call, options));
        if (taken.ok) call.send([exportResponse(taken.value)]);
        call.end(taken.ok ? { code: GRPC.OK, message: '' } : taken.error);
      },
      halfClosed: () => {
        if (!asked) call.end({ code: GRPC.INVALID_ARGUMENT, message: 'a call without a request' });
      },
    };
  });

/** The same over HTTP. */
const httpSpans = (take: SpanIntake, options: Door): ReturnType<typeof otlpTraces> =>
  otlpTraces({
    take,
    admit: (call, batch) =>
      asCaller(call, false, options, (caller) => ({ ...ENDED, message: (bytes) => batch(bytes, spanTeller(caller, call, options)) })),
  });

const spanTeller = (caller: Caller | undefined, call: OtlpCaller, { ads }: Door): SpanTeller => {
  if (caller === undefined) return { name: `nobody proven at ${peerKey(call.peer.address)}`, sidecarOf: undefined };
  const { name, namespace, serviceAccount } = caller;
  const node = call.metadata('x-skein-node');
  const sidecarOf = node === undefined ? undefined : ads.replicaOf(caller, node);
  return { name: `${sidecarOf?.name ?? (name || serviceAccount)}.${namespace}`, sidecarOf };
};

const serveOperator = (call: GrpcServerCall, options: Door): GrpcHandler =>
  asCaller(call, false, options, (caller) => {
    const own = caller && options.ads.replicaOf(caller, call.metadata('x-skein-node') ?? '');
    if (own === undefined) {
      const message = caller ? 'the node of this operator stream is not the caller’s' : 'an operator stream needs a workload token';
      options.refused?.({ door: 'xds', who: whoIs(caller, call), reason: message });
      call.end({ code: caller ? GRPC.PERMISSION_DENIED : GRPC.UNAUTHENTICATED, message });
      return ENDED;
    }
    const { namespace, name } = own;
    const session = options.operators.attach(namespace, name, (bytes) => call.send([bytes]));
    const stop = endWithProof(call, caller, options);
    return {
      message: (bytes) => {
        if (!session.received(bytes)) call.end({ code: GRPC.INVALID_ARGUMENT, message: 'not an operator reply' });
      },
      halfClosed: () => call.end({ code: GRPC.OK, message: '' }),
      drained: () => undefined,
      closed: () => {
        stop();
        options.operators.detach(namespace, name, session);
      },
    };
  });

/** A unary call: one request, one answer. */
const serveCertificate = (call: GrpcServerCall, options: Door): GrpcHandler => {
  options.metrics.count('citadel_server_csr_count');
  return asCaller(call, true, options, (caller) => {
    let asked = false;
    return {
      ...ENDED,
      message: (bytes) => {
        if (asked) return;
        asked = true;
        void createCertificate(call, caller, bytes, options).then((result) => {
          if (result.ok) call.send([result.value]);
          else options.refused?.({ door: 'ca', who: whoIs(caller, call), reason: result.error.message });
          call.end(result.ok ? { code: GRPC.OK, message: '' } : result.error);
        });
      },
      halfClosed: () => {
        if (!asked) call.end({ code: GRPC.INVALID_ARGUMENT, message: 'a call without a request' });
      },
    };
  });
};

const REFUSED = { forbidden: GRPC.PERMISSION_DENIED, invalid: GRPC.INVALID_ARGUMENT, unavailable: GRPC.UNAVAILABLE } as const;

const createCertificate = async (
  call: GrpcServerCall,
  caller: Caller | undefined,
  bytes: Uint8Array,
  options: Door,
): Promise<Result<Uint8Array, GrpcStatus>> => {
  if (!caller) {
    options.metrics.count('citadel_server_authentication_failure_count');
    return err({ code: GRPC.UNAUTHENTICATED, message: 'a certificate request needs a workload token' });
  }
  const { namespace, serviceAccount, name } = caller;
  if (!options.csrs.take(`${namespace}/${serviceAccount}/${name}/${peerKey(call.peer.address)}`)) {
    options.metrics.count('skein_csrs_limited');
    return err({ code: GRPC.RESOURCE_EXHAUSTED, message: 'too many certificate requests of this workload: try later' });
  }
  try {
    const { csr, validity_duration } = decode('istio.v1.auth.IstioCertificateRequest', bytes);
    const identity = { trustDomain: options.trustDomain(), namespace, serviceAccount };
    const replica = name === '' ? undefined : `${namespace}/${name}`;
    const signed = await options.ca.sign(csr ?? '', identity, Math.max(0, validity_duration ?? 0) * 1000, replica);
    if (signed.ok) {
      options.metrics.count('citadel_server_success_cert_issuance_count');
      return ok(encode('istio.v1.auth.IstioCertificateResponse', { cert_chain: [...signed.value] }));
    }
    options.metrics.count('citadel_server_csr_sign_err_count', { error: signed.error.kind });
    options.log.warning('a certificate request was refused', { namespace, serviceAccount, problem: signed.error.message });
    return err({
      code: REFUSED[signed.error.kind],
      message: signed.error.message,
    });
  } catch (error) {
    if (error instanceof CodecError) options.metrics.count('citadel_server_csr_parsing_err_count');
    else options.metrics.count('citadel_server_csr_sign_err_count', { error: 'internal' });
    if (error instanceof CodecError)
      return err({ code: GRPC.INVALID_ARGUMENT, message: `malformed certificate request: ${error.message}` });
    options.log.error('signing failed', { problem: error instanceof Error ? error.message : String(error) });
    return err({ code: GRPC.INTERNAL, message: 'signing failed' });
  }
};
