// Secret discovery for the proxy beside us: `default` (chain and key), `ROOTCA`, and what files hold, inline bytes. A subscriber
// gets what it asked for as soon as it is there and again at every rotation of it. State of the world, no I/O of its own.
// The key passes only through here, to the proxy in this process or over the agent's own socket.

import { type Anchor, anchorOf, boundDomains, isFor } from '../identity/anchor-scope.ts';
import { GRPC } from '../wire/grpc-frames.ts';
import { decode, encode } from '../xds/codec.ts';
import type { CertificateValidationContext, DiscoveryRequest, Secret } from '../xds/gen/types.ts';
import { SDS_METHOD, SECRET_TYPE } from '../xds/resource-types.ts';
import type { StreamEvents, XdsStream, XdsTransport } from '../xds/transport.ts';
import { certificatesIn, joinPem } from './certificate.ts';
import { FileSecrets, isFileSecret } from './file-secrets.ts';
import type { WorkloadSecret } from './workload-identity.ts';

/** The names that istiod's configuration uses. */
export const WORKLOAD_SECRET = 'default';
export const ROOT_SECRET = 'ROOTCA';

const utf8 = new TextEncoder();

interface Served {
  readonly secret: Secret;
  readonly version: number;
}

export interface SecretServerOptions {
  readonly onRejected: (names: readonly string[], problem: string) => void;
  /** A file that was asked for cannot be served. */
  readonly onFileProblem: (name: string, problem: string) => void;
  readonly filePollMs?: number;
}

export class SecretServer implements XdsTransport {
  readonly #options: SecretServerOptions;
  readonly #subscribers = new Set<SecretSubscriber>();
  readonly #secrets = new Map<string, Served>();
  readonly #files: FileSecrets;
  #version = 0;
  /** PEM, as last published. */
  #published = { chain: '', roots: '' };

  constructor(options: SecretServerOptions) {
    this.#options = options;
    this.#files = new FileSecrets({
      onSecret: (secret) => this.#serve([secret]),
      onProblem: options.onFileProblem,
      ...(options.filePollMs === undefined ? {} : { pollMs: options.filePollMs }),
    });
  }

  publish({ certificate, privateKeyPem, retiredRoots = [] }: WorkloadSecret): void {
    const leaf: Secret = {
      name: WORKLOAD_SECRET,
      tls_certificate: {
        certificate_chain: { inline_bytes: utf8.encode(certificate.chainPem) },
        private_key: { inline_bytes: utf8.encode(privateKeyPem) },
      },
    };
    const trusted = [...retiredRoots, '', certificate.rootsPem].join('\n');
    const roots = (): Secret => ({ name: ROOT_SECRET, validation_context: trustOf(certificate.rootsPem, retiredRoots) });
    // Who trusts the same as before is told nothing, and the other way round.
    const changed = [
      ...(certificate.chainPem === this.#published.chain ? [] : [leaf]),
      ...(trusted === this.#published.roots ? [] : [roots()]),
    ];
    this.#published = { chain: certificate.chainPem, roots: trusted };
    if (changed.length > 0) this.#serve(changed);
  }

  #serve(secrets: readonly Secret[]): void {
    this.#version++;
    for (const secret of secrets) this.#secrets.set(secret.name ?? '', { secret, version: this.#version });
    for (const s of this.#subscribers) s.push(this.#secrets);
  }

  /** Files that nobody asks for any more are forgotten. */
  #watchFiles(): void {
    const wanted = new Set([...this.#subscribers].flatMap((s) => s.names).filter(isFileSecret));
    for (const name of this.#secrets.keys()) if (isFileSecret(name) && !wanted.has(name)) this.#secrets.delete(name);
    this.#files.want(wanted);
  }

  open(method: string, events: StreamEvents): XdsStream {
    if (method !== SDS_METHOD) {
      queueMicrotask(() => events.end({ code: GRPC.UNIMPLEMENTED, message: `${method} is not served by the agent` }));
      return { send: () => {}, close: () => {} };
    }
    const subscriber = new SecretSubscriber(events, this.#options.onRejected);
    this.#subscribers.add(subscriber);
    return {
      send: (bytes) => {
        if (!this.#subscribers.has(subscriber)) return;
        let request: DiscoveryRequest;
        try {
          request = decode('envoy.service.discovery.v3.DiscoveryRequest', bytes);
        } catch (e) {
          this.#subscribers.delete(subscriber);
          const message = e instanceof Error ? e.message : String(e);
          queueMicrotask(() => subscriber.end({ code: GRPC.INVALID_ARGUMENT, message }));
          return;
        }
        subscriber.request(request);
        this.#watchFiles();
        queueMicrotask(() => subscriber.push(this.#secrets));
      },
      close: () => {
        if (!this.#subscribers.delete(subscriber)) return;
        subscriber.close();
        this.#watchFiles();
      },
    };
  }

  /** Ends every stream: the agent stops. */
  close(): void {
    for (const s of this.#subscribers) s.end({ code: GRPC.UNAVAILABLE, message: 'the agent stops' });
    this.#subscribers.clear();
    this.#files.close();
  }
}

/** Where some root is for one trust domain only, Envoy's SPIFFE validator says which; a root for every one is in each of its bundles. */
const trustOf = (rootsPem: string, retiredRoots: readonly string[]): CertificateValidationContext => {
  const anchors = certificatesIn(rootsPem).map(anchorOf);
  const retired = retiredRoots.map(anchorOf);
  const domains = boundDomains(anchors);
  if (domains === undefined) return { trusted_ca: { inline_bytes: utf8.encode(retiredText(retired) + rootsPem) } };
  const trust_domains = domains.map((name) => {
    const of = (all: readonly Anchor[]): readonly Anchor[] => all.filter((anchor) => isFor(anchor, name));
    return { name, trust_bundle: { inline_bytes: utf8.encode(retiredText(of(retired)) + joinPem(of(anchors).map((a) => a.pem))) } };
  });
  return {
    custom_validator_config: {
      name: 'envoy.tls.cert_validator.spiffe',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig',
        trust_domains,
      },
    },
  };
};

/** Comments for every reader of PEM; our proxy lets connections below these roots be, and closes those below a root that just vanishes. */
const retiredText = (roots: readonly Anchor[]): string =>
  roots.map(({ pem }) => `# retired root ${pem.replace(/-----[^-]+-----|\s+/g, '')}\n`).join('');

class SecretSubscriber {
  readonly #events: StreamEvents;
  readonly #onRejected: (names: readonly string[], problem: string) => void;
  #names: readonly string[] = [];
  /** What was last sent, so that an acknowledgement is not answered with the same again. */
  #sent = '';
  #nonce = 0;
  #over = false;

  constructor(events: StreamEvents, onRejected: (names: readonly string[], problem: string) => void) {
    this.#events = events;
    this.#onRejected = onRejected;
  }

  get names(): readonly string[] {
    return this.#names;
  }

  request(request: DiscoveryRequest): void {
    const nonce = request.response_nonce ?? '';
    if (nonce !== '' && nonce !== String(this.#nonce)) return; // answers an older response: a newer one is on its way
    if (request.error_detail) this.#onRejected(request.resource_names ?? [], request.error_detail.message ?? '');
    this.#names = request.resource_names ?? [];
  }

  push(secrets: ReadonlyMap<string, Served>): void {
    if (this.#over) return;
    const found = this.#names.map((n) => secrets.get(n)).filter((s) => s !== undefined);
    if (found.length === 0) return;
    const state = JSON.stringify(found.map((s) => [s.secret.name, s.version]));
    if (this.#sent === state) return;
    this.#sent = state;
    this.#nonce++;
    this.#events.message(
      encode('envoy.service.discovery.v3.DiscoveryResponse', {
        version_info: String(Math.max(...found.map((s) => s.version))),
        type_url: SECRET_TYPE.url,
        resources: found.map((s) => ({ '@type': SECRET_TYPE.url, ...s.secret })),
        nonce: String(this.#nonce),
      }),
    );
  }

  end(status: { readonly code: number; readonly message: string }): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.end(status);
  }
  close(): void {
    this.#over = true;
  }
}
