// The gRPC door for proxies and agents: xDS streams, certificate requests, and the agents' operator stream, on a Unix
// socket or a TCP port. Messages pass as bytes; who the caller is comes from its bearer token, and from nothing else.
// An insecure listener takes callers without a token for xDS only: certificates are never given to strangers.
import { chmodSync, rmSync } from 'node:fs';
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import { CodecError, decode, encode } from '../xds/codec.ts';
import { ADS_METHOD, RESOURCE_TYPES, streamMethod } from '../xds/resource-types.ts';
import type { AdsConnection } from './ads-connection.ts';
import type { AdsService } from './ads-service.ts';
import type { CertificateAuthority } from './ca.ts';
import { OPERATOR_REPLY_BYTES_MAX, SHUTDOWN_GRACE_MS, XDS_REQUEST_BYTES_MAX } from './limits.ts';
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

type Bytes = Buffer;
type Call = ServerDuplexStream<Bytes, Bytes>;
type CallError = { readonly code: status; readonly message: string };

export const CREATE_CERTIFICATE_METHOD = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
export const OPERATOR_METHOD = '/skein.v1.Operator/Attach';
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const BEARER = /^bearer\s+(\S+)$/i;

const raw = (bytes: Bytes): Bytes => bytes;
const method = (path: string, streaming: boolean): ServiceDefinition[string] => ({
  path,
  requestStream: streaming,
  responseStream: streaming,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

/** Rejects when the address cannot be bound. A socket file left by a killed process is replaced. */
export const startXdsServer = async (options: XdsServerOptions): Promise<XdsServer> => {
  const server = new Server({
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // An agent's answers carry whole configuration dumps; a stranger sends discovery requests only.
    'grpc.max_receive_message_length': options.insecure ? XDS_REQUEST_BYTES_MAX : OPERATOR_REPLY_BYTES_MAX,
    'grpc.max_send_message_length': -1,
  });
  addServices(server, options);
  const path = options.address.startsWith('unix:') ? options.address.slice('unix:'.length) : undefined;
  if (path !== undefined) rmSync(path, { force: true });
  const port = await bind(server, options.address);
  if (path !== undefined) chmodSync(path, 0o600);
  const address = path === undefined ? options.address.replace(/:\d+$/, `:${port}`) : options.address;
  return { address, close: () => stop(server, path) };
};

const bind = (server: Server, address: string): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(new Error(`cannot serve xDS on ${address}: ${error.message}`));
      else resolve(port);
    });
  });

const stop = async (server: Server, path: string | undefined): Promise<void> => {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, SHUTDOWN_GRACE_MS);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
  if (path !== undefined) rmSync(path, { force: true });
};

const addServices = (server: Server, options: XdsServerOptions): void => {
  const streams: Record<string, handleBidiStreamingCall<Bytes, Bytes>> = {
    [ADS_METHOD]: (call) => serveDiscovery(call, undefined, options),
    [OPERATOR_METHOD]: (call) => serveOperator(call, options),
  };
  for (const type of RESOURCE_TYPES) {
    const path = streamMethod(type);
    // Secrets are the agent's to give: keys never pass through the control plane.
    if (path !== undefined && type.shortName !== 'SDS') streams[path] = (call) => serveDiscovery(call, type.url, options);
  }
  const certificate: handleUnaryCall<Bytes, Bytes> = (call, callback) => {
    void createCertificate(call.metadata, call.request, options).then((result) =>
      result.ok ? callback(null, result.value) : callback({ code: result.error.code, details: result.error.message }),
    );
  };
  const definition: Record<string, ServiceDefinition[string]> = { [CREATE_CERTIFICATE_METHOD]: method(CREATE_CERTIFICATE_METHOD, false) };
  for (const path of Object.keys(streams)) definition[path] = method(path, true);
  server.addService(definition, { ...streams, [CREATE_CERTIFICATE_METHOD]: certificate });
};

const authenticate = (metadata: Metadata, options: XdsServerOptions): Result<TokenHolder | undefined, CallError> => {
  const header = metadata.get('authorization')[0];
  if (header === undefined) {
    return options.insecure
      ? ok(undefined)
      : err({ code: status.UNAUTHENTICATED, message: 'a workload token is required (authorization: Bearer …)' });
  }
  const token = BEARER.exec(header.toString())?.[1];
  const holder = token === undefined ? undefined : options.tokens.holder(token);
  return holder ? ok(holder) : err({ code: status.UNAUTHENTICATED, message: 'the workload token is not known here' });
};

const fail = (call: Call, code: number, message: string): void => {
  call.emit('error', { code, details: message });
};

const serveDiscovery = (call: Call, onlyType: string | undefined, options: XdsServerOptions): void => {
  const caller = authenticate(call.metadata, options);
  if (!caller.ok) {
    fail(call, caller.error.code, caller.error.message);
    return;
  }
  let open = true;
  const connection = options.ads.open({
    onlyType,
    holder: caller.value,
    send: (bytes) => {
      if (open) call.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    },
  });
  const close = (): void => {
    if (!open) return;
    open = false;
    options.ads.closed(connection);
  };
  call.on('data', (bytes: Bytes) => {
    if (!open) return;
    const taken = receive(connection, bytes, options);
    if (taken.ok) return;
    options.log.warning('an xDS stream was refused', { problem: taken.error.message });
    options.metrics.count('pilot_xds_stream_refusals');
    close();
    fail(call, taken.error.code, taken.error.message);
  });
  call.on('end', () => {
    close();
    call.end();
  });
  call.on('cancelled', close);
  call.on('error', close);
  call.on('close', close);
};

/** A defect met by one request ends that stream, not the process. */
const receive = (connection: AdsConnection, bytes: Bytes, { log }: XdsServerOptions): Result<void, CallError> => {
  try {
    return connection.received(bytes);
  } catch (error) {
    log.error('an xDS request could not be served', { problem: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    return err({ code: status.INTERNAL, message: 'internal error of the control plane' });
  }
};

const serveOperator = (call: Call, options: XdsServerOptions): void => {
  const caller = authenticate(call.metadata, options);
  if (!caller.ok || !caller.value) {
    const { code, message } = caller.ok
      ? { code: status.UNAUTHENTICATED, message: 'an operator stream needs a workload token' }
      : caller.error;
    fail(call, code, message);
    return;
  }
  const { namespace, name } = caller.value;
  const session = options.operators.attach(namespace, name, (bytes) => call.write(Buffer.from(bytes)));
  const close = (): void => options.operators.detach(namespace, name, session);
  call.on('data', (bytes: Bytes) => {
    if (session.received(bytes)) return;
    close();
    fail(call, status.INVALID_ARGUMENT, 'not an operator reply');
  });
  call.on('end', () => {
    close();
    call.end();
  });
  call.on('cancelled', close);
  call.on('error', close);
};

const createCertificate = async (metadata: Metadata, bytes: Bytes, options: XdsServerOptions): Promise<Result<Bytes, CallError>> => {
  options.metrics.count('citadel_server_csr_count');
  const caller = authenticate(metadata, options);
  if (!caller.ok) return caller;
  if (!caller.value) return err({ code: status.UNAUTHENTICATED, message: 'a certificate request needs a workload token' });
  const { namespace, serviceAccount } = caller.value;
  try {
    const { csr, validity_duration } = decode('istio.v1.auth.IstioCertificateRequest', bytes);
    const identity = { trustDomain: options.trustDomain(), namespace, serviceAccount };
    const signed = await options.ca.sign(csr ?? '', identity, Math.max(0, validity_duration ?? 0) * 1000);
    if (signed.ok) return ok(Buffer.from(encode('istio.v1.auth.IstioCertificateResponse', { cert_chain: [...signed.value] })));
    options.log.warning('a certificate request was refused', { namespace, serviceAccount, problem: signed.error.message });
    return err({
      code: signed.error.kind === 'forbidden' ? status.PERMISSION_DENIED : status.INVALID_ARGUMENT,
      message: signed.error.message,
    });
  } catch (error) {
    if (error instanceof CodecError)
      return err({ code: status.INVALID_ARGUMENT, message: `malformed certificate request: ${error.message}` });
    options.log.error('signing failed', { problem: error instanceof Error ? error.message : String(error) });
    return err({ code: status.INTERNAL, message: 'signing failed' });
  }
};
