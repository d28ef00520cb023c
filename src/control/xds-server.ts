// The gRPC door for proxies and agents: xDS streams, certificate requests, and the agents' operator stream, on a Unix
// socket or a TCP port. Messages pass as bytes; who the caller is comes from its bearer token, and from nothing else.
// An insecure listener takes callers without a token for xDS only: certificates are never given to strangers.
import { chmodSync, rmSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import { GRPC, type GrpcStatus } from '../wire/grpc-frames.ts';
import { CodecError, decode, encode } from '../xds/codec.ts';
import { ADS_METHOD, DELTA_ADS_METHOD, deltaMethod, RESOURCE_TYPES, streamMethod } from '../xds/resource-types.ts';
import type { StreamProtocol } from './ads-connection.ts';
import type { AdsService } from './ads-service.ts';
import type { CertificateAuthority } from './ca.ts';
import { type GrpcHandler, type GrpcMethod, GrpcServer, type GrpcServerCall } from './grpc-server.ts';
import { OPERATOR_REPLY_BYTES_MAX, XDS_REQUEST_BYTES_MAX } from './limits.ts';
import type { ControlMetrics } from './metric-registry.ts';
import type { OperatorHub } from './operator-hub.ts';
import type { TokenHolder, TokenStore } from './token-store.ts';

export interface XdsServerOptions {
  /** `unix:PATH` or `HOST:PORT`. */
  readonly address: string;
  /** Callers without a token are served. */
  readonly insecure: boolean;
  readonly ads: AdsService;
  readonly ca: CertificateAuthority;
  readonly operators: OperatorHub;
  readonly tokens: TokenStore;
  readonly trustDomain: () => string;
  readonly metrics: ControlMetrics;
  readonly log: Log;
}

export interface XdsServer {
  /** As bound: a port of 0 is replaced by the one that was given. */
  readonly address: string;
  close(): Promise<void>;
}

export const CREATE_CERTIFICATE_METHOD = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
export const OPERATOR_METHOD = '/skein.v1.Operator/Attach';
const BEARER = /^bearer\s+(\S+)$/i;

/** Rejects when the address cannot be bound. A socket file left by a killed process is replaced. */
export const startXdsServer = async (options: XdsServerOptions): Promise<XdsServer> => {
  const { log } = options;
  const server = new GrpcServer({
    methods: methodsOf(options),
    // An agent's answers carry whole configuration dumps; a stranger sends discovery requests only.
    messageBytesMax: options.insecure ? XDS_REQUEST_BYTES_MAX : OPERATOR_REPLY_BYTES_MAX,
    now: Date.now,
    failed: (error) =>
      log.error('a gRPC call could not be served', { problem: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  });
  const path = options.address.startsWith('unix:') ? options.address.slice('unix:'.length) : undefined;
  if (path !== undefined) rmSync(path, { force: true });
  const port = await bind(server, options.address, path);
  if (path !== undefined) chmodSync(path, 0o600);
  const address = path === undefined ? options.address.replace(/:\d+$/, `:${port}`) : options.address;
  const close = async (): Promise<void> => {
    await server.close();
    if (path !== undefined) rmSync(path, { force: true });
  };
  return { address, close };
};

const bind = async (server: GrpcServer, address: string, path: string | undefined): Promise<number> => {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  try {
    return await server.listen(path === undefined ? { host, port: Number(address.slice(colon + 1)) } : { path });
  } catch (error) {
    throw new Error(`cannot serve xDS on ${address}: ${error instanceof Error ? error.message : String(error)}`);
  }
};

const methodsOf = (options: XdsServerOptions): ReadonlyMap<string, GrpcMethod> => {
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
  methods.set(OPERATOR_METHOD, (call) => serveOperator(call, options));
  methods.set(CREATE_CERTIFICATE_METHOD, (call) => serveCertificate(call, options));
  return methods;
};

const authenticate = (call: GrpcServerCall, options: XdsServerOptions): Result<TokenHolder | undefined, GrpcStatus> => {
  const header = call.metadata('authorization');
  if (header === undefined) {
    return options.insecure
      ? ok(undefined)
      : err({ code: GRPC.UNAUTHENTICATED, message: 'a workload token is required (authorization: Bearer …)' });
  }
  const token = BEARER.exec(header)?.[1];
  const holder = token === undefined ? undefined : options.tokens.holder(token);
  return holder ? ok(holder) : err({ code: GRPC.UNAUTHENTICATED, message: 'the workload token is not known here' });
};

/** An open stream is worth no more than the token it was opened with. */
const endWithToken = (call: GrpcServerCall, holder: TokenHolder | undefined, { tokens }: XdsServerOptions): (() => void) =>
  holder === undefined
    ? () => undefined
    : tokens.whenRevoked(holder, () => call.end({ code: GRPC.UNAUTHENTICATED, message: 'the workload token has been revoked' }));

const ENDED: GrpcHandler = {
  message: () => undefined,
  halfClosed: () => undefined,
  drained: () => undefined,
  closed: () => undefined,
};

const serveDiscovery = (call: GrpcServerCall, protocol: StreamProtocol, options: XdsServerOptions): GrpcHandler => {
  const caller = authenticate(call, options);
  if (!caller.ok) {
    call.end(caller.error);
    return ENDED;
  }
  const connection = options.ads.open({
    protocol,
    holder: caller.value,
    send: (pieces) => call.send(pieces),
    writable: () => call.writable,
  });
  const stop = endWithToken(call, caller.value, options);
  return {
    message: (bytes) => {
      const taken = connection.received(bytes);
      if (taken.ok) return;
      options.log.warning('an xDS stream was refused', { problem: taken.error.message });
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
};

const serveOperator = (call: GrpcServerCall, options: XdsServerOptions): GrpcHandler => {
  const caller = authenticate(call, options);
  if (!caller.ok || !caller.value) {
    call.end(caller.ok ? { code: GRPC.UNAUTHENTICATED, message: 'an operator stream needs a workload token' } : caller.error);
    return ENDED;
  }
  const { namespace, name } = caller.value;
  const session = options.operators.attach(namespace, name, (bytes) => call.send([bytes]));
  const stop = endWithToken(call, caller.value, options);
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
};

/** A unary call: one request, one answer. */
const serveCertificate = (call: GrpcServerCall, options: XdsServerOptions): GrpcHandler => {
  let asked = false;
  return {
    ...ENDED,
    message: (bytes) => {
      if (asked) return;
      asked = true;
      void createCertificate(call, bytes, options).then((result) => {
        if (result.ok) call.send([result.value]);
        call.end(result.ok ? { code: GRPC.OK, message: '' } : result.error);
      });
    },
    halfClosed: () => {
      if (!asked) call.end({ code: GRPC.INVALID_ARGUMENT, message: 'a call without a request' });
    },
  };
};

const createCertificate = async (
  call: GrpcServerCall,
  bytes: Uint8Array,
  options: XdsServerOptions,
): Promise<Result<Uint8Array, GrpcStatus>> => {
  options.metrics.count('citadel_server_csr_count');
  const caller = authenticate(call, options);
  if (!caller.ok) return caller;
  if (!caller.value) return err({ code: GRPC.UNAUTHENTICATED, message: 'a certificate request needs a workload token' });
  const { namespace, serviceAccount } = caller.value;
  try {
    const { csr, validity_duration } = decode('istio.v1.auth.IstioCertificateRequest', bytes);
    const identity = { trustDomain: options.trustDomain(), namespace, serviceAccount };
    const signed = await options.ca.sign(csr ?? '', identity, Math.max(0, validity_duration ?? 0) * 1000);
    if (signed.ok) return ok(encode('istio.v1.auth.IstioCertificateResponse', { cert_chain: [...signed.value] }));
    options.log.warning('a certificate request was refused', { namespace, serviceAccount, problem: signed.error.message });
    return err({
      code: signed.error.kind === 'forbidden' ? GRPC.PERMISSION_DENIED : GRPC.INVALID_ARGUMENT,
      message: signed.error.message,
    });
  } catch (error) {
    if (error instanceof CodecError)
      return err({ code: GRPC.INVALID_ARGUMENT, message: `malformed certificate request: ${error.message}` });
    options.log.error('signing failed', { problem: error instanceof Error ? error.message : String(error) });
    return err({ code: GRPC.INTERNAL, message: 'signing failed' });
  }
};
