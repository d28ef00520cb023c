// Proof by a service-account token that a Kubernetes API server reviews (authentication.k8s.io/v1 TokenReview): authenticated, for our
// audience, of a service account. The pod that a token is bound to is the only replica that it proves. No token is ever in a message.
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { err, ok, type Result } from '../../base/result.ts';
import { type Caller, isName, serviceAccountOf } from './caller.ts';

export interface ReviewSettings {
  /** The API server: `https://host:port`. */
  readonly server: string;
  /** PEM; the system's when absent. */
  readonly caPem: string | undefined;
  /** Our own token, read for each review: it rotates. */
  readonly token: () => string;
  readonly audiences: readonly string[];
}

const PATH = '/apis/authentication.k8s.io/v1/tokenreviews';
const TIMEOUT_MS = 5000;
const REPLY_BYTES_MAX = 256 * 1024;
const REVIEWS_MAX = 64;
const POD = 'authentication.kubernetes.io/pod-name';

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.filter((v): v is string => typeof v === 'string') : []);

export class TokenReviewer {
  readonly #settings: ReviewSettings;
  #under = 0;

  constructor(settings: ReviewSettings) {
    this.#settings = settings;
  }

  async caller(token: string): Promise<Result<Caller, string>> {
    if (this.#under >= REVIEWS_MAX) return err('too many tokens are being reviewed');
    this.#under++;
    try {
      const { audiences } = this.#settings;
      const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } };
      return readReview(await this.#post(JSON.stringify(review)), audiences);
    } catch (error) {
      // The words of the transport; the request, with the token in it, is in none of them.
      return err(`the API server could not review the token: ${error instanceof Error ? error.message : 'failed'}`);
    } finally {
      this.#under--;
    }
  }

  #post(body: string): Promise<unknown> {
    const { server, caPem, token } = this.#settings;
    const url = new URL(PATH, server);
    const secure = url.protocol === 'https:';
    const headers = {
      authorization: `Bearer ${token()}`,
      'content-type': 'application/json',
      accept: 'application/json',
      'content-length': Buffer.byteLength(body),
    };
    const options = { method: 'POST', headers, agent: false as const, ...(secure && caPem !== undefined ? { ca: caPem } : {}) };
    return new Promise((resolve, reject) => {
      const taken = (response: IncomingMessage): void => {
        readReply(response).then(resolve, reject);
      };
      const sent: ClientRequest = secure ? httpsRequest(url, options, taken) : httpRequest(url, options, taken);
      const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
      sent.on('error', reject);
      sent.on('close', () => clearTimeout(timer));
      sent.end(body);
    });
  }
}

const readReply = async (response: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > REPLY_BYTES_MAX) throw new Error(`it answers with more than ${REPLY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  if (response.statusCode !== 200 && response.statusCode !== 201) throw new Error(`it answers ${response.statusCode}`);
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Error('its answer is not JSON');
  }
};

const readReview = (reply: unknown, audiences: readonly string[]): Result<Caller, string> => {
  const status = isObject(reply) && isObject(reply['status']) ? reply['status'] : {};
  if (status['authenticated'] !== true) return err('the API server does not know the token');
  // An API server that knows nothing of audiences leaves them out, and has checked none.
  if (!texts(status['audiences']).some((a) => audiences.includes(a)))
    return err(`the token is not for the audience ${audiences.join(' or ')}`);
  const user = isObject(status['user']) ? status['user'] : {};
  if (!texts(user['groups']).includes('system:serviceaccounts')) return err('the token is not of a service account');
  const account = typeof user['username'] === 'string' ? serviceAccountOf(user['username']) : undefined;
  if (!account) return err('the token is not of a service account');
  const [pod] = isObject(user['extra']) ? texts(user['extra'][POD]) : [];
  return ok({ ...account, name: isName(pod) ? pod : '', address: '', proof: 'reviewed token' });
};
