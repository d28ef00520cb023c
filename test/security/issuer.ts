// An issuer of tokens on this machine, over HTTPS, whose keys and manners a check changes while it runs.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestAuthority } from '../proxy/certificates.ts';

export type Manner = 'answers' | 'silent' | 'fails' | 'redirects in a circle' | 'sends without end' | 'sends no JSON';

export class Issuer implements AsyncDisposable {
  readonly #server;
  readonly #timers = new Set<NodeJS.Timeout>();
  #kid = 0;
  #pair = newPair();
  manner: Manner = 'answers';
  asked = 0;

  constructor(authority: TestAuthority) {
    const { key, certificate } = authority.issue({ ip: '127.0.0.1' });
    this.#server = createServer({ key, cert: certificate }, (_, response) => {
      this.asked++;
      if (this.manner === 'answers') response.end(this.#keys);
      else if (this.manner === 'fails') response.writeHead(503).end();
      else if (this.manner === 'redirects in a circle') response.writeHead(302, { location: this.jwksUri }).end();
      else if (this.manner === 'sends no JSON') response.end('<html>');
      else if (this.manner === 'sends without end') {
        const timer = setInterval(() => response.write(Buffer.alloc(64 * 1024, ' ')), 1);
        this.#timers.add(timer);
        response.on('close', () => clearInterval(timer));
      }
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get jwksUri(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}/keys`;
  }

  /** Another key instead of the one before. */
  rotate(): void {
    this.#kid++;
    this.#pair = newPair();
  }

  /** Signed with the key of now, unless another one is given. */
  token(claims: object = {}, key: KeyObject = this.#pair.privateKey): string {
    const now = Math.floor(Date.now() / 1000);
    const all = { iss: 'https://auth.example.com', sub: 'alice', aud: 'api.example.com', exp: now + 3600, ...claims };
    const parts = [{ alg: 'RS256', kid: `k${this.#kid}` }, all].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
    return `${parts.join('.')}.${sign('sha256', Buffer.from(parts.join('.')), key).toString('base64url')}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get #keys(): string {
    return JSON.stringify({
      keys: [{ ...this.#pair.publicKey.export({ format: 'jwk' }), kid: `k${this.#kid}`, alg: 'RS256', use: 'sig' }],
    });
  }
}

const newPair = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
export const strangersKey = newPair().privateKey;
