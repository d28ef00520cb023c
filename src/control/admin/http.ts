// The HTTP frame of the admin API: bounded bodies, JSON in and out, one table of routes, errors of one shape:
// `{error: {code, message, problems?}}`. Knows no route's meaning.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Problem } from '../../api/problem.ts';
import type { Role } from '../auth/access-tokens.ts';
import { REQUEST_BODY_BYTES_MAX } from '../limits.ts';

export interface AdminCaller {
  readonly role: Role;
  /** For logs: `local user`, or the id of the token. */
  readonly who: string;
  /** '' on a Unix socket. */
  readonly from: string;
}

/** Throws AdminError for a caller that is not let in. */
export type AdminDoor = (request: IncomingMessage) => AdminCaller;

export interface AdminRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly url: URL;
  /** The `:name` and `*` parts of the route's pattern, decoded. */
  readonly parameters: readonly string[];
  readonly body: string;
  readonly by: AdminCaller;
}

export type AdminReply =
  | { readonly status: number; readonly json: unknown }
  | { readonly status: number; readonly text: string; readonly headers: Readonly<Record<string, string>> }
  /** Takes over the response and ends it some time. */
  | { readonly stream: (response: ServerResponse) => void };

export interface AdminRoute {
  /** `*` for any. */
  readonly method: string;
  /** `/v1/instances/:/:`; a last `*` takes the rest. */
  readonly pattern: string;
  readonly bodyBytesMax?: number;
  handle(request: AdminRequest): AdminReply | Promise<AdminReply>;
}

/** Thrown by handlers and the frame; becomes the answer. */
export class AdminError extends Error {
  readonly status: number;
  readonly code: string;
  readonly problems: readonly Problem[] | undefined;
  constructor(status: number, code: string, message: string, problems?: readonly Problem[]) {
    super(message);
    this.status = status;
    this.code = code;
    this.problems = problems;
  }
}

export const adminListener =
  (routes: readonly AdminRoute[], door: AdminDoor, failed: (error: unknown) => void) =>
  (request: IncomingMessage, response: ServerResponse): void => {
    void answer(routes, door, request)
      .catch((error: unknown): AdminReply => {
        if (error instanceof AdminError) return errorReply(error);
        failed(error);
        return errorReply(new AdminError(500, 'INTERNAL', 'the control plane failed to answer; its log says why'));
      })
      .then((reply) => write(response, reply))
      // An answer that cannot be written ends this exchange, never the process.
      .catch((error: unknown) => {
        failed(error);
        response.destroy();
      });
  };

const answer = async (routes: readonly AdminRoute[], door: AdminDoor, request: IncomingMessage): Promise<AdminReply> => {
  // First of all: who is not let in learns nothing of what is here.
  const by = door(request);
  const url = URL.parse(request.url ?? '/', 'http://admin');
  if (!url) throw new AdminError(400, 'INVALID', 'the request target is not a path');
  const method = request.method ?? 'GET';
  const matches = routes.flatMap((route) => {
    const parameters = matchPattern(route.pattern, url.pathname);
    return parameters ? [{ route, parameters }] : [];
  });
  if (matches.length === 0) throw new AdminError(404, 'NOT_FOUND', `there is no ${url.pathname}`);
  const found = matches.find(({ route }) => route.method === '*' || route.method === method);
  if (!found) throw new AdminError(405, 'METHOD_NOT_ALLOWED', `${url.pathname} takes ${matches.map((m) => m.route.method).join(', ')}`);
  requireRole(by, method);
  const body = await readBody(request, found.route.bodyBytesMax ?? REQUEST_BODY_BYTES_MAX);
  return found.route.handle({ method, url, parameters: found.parameters, body, by });
};

const requireRole = ({ role }: AdminCaller, method: string): void => {
  if (role === 'write' || method === 'GET' || method === 'HEAD') return;
  throw new AdminError(403, 'FORBIDDEN', 'the token may read, and not change anything');
};

/** Undefined when the path does not match. */
export const matchPattern = (pattern: string, path: string): readonly string[] | undefined => {
  const want = pattern.split('/');
  const have = path.split('/');
  const parameters: string[] = [];
  for (const [i, part] of want.entries()) {
    if (part === '*') return [...parameters, have.slice(i).join('/')];
    const value = have[i];
    if (value === undefined) return undefined;
    if (part === ':') {
      const decoded = decodePart(value);
      if (decoded === undefined || decoded === '') return undefined;
      parameters.push(decoded);
    } else if (part !== value) return undefined;
  }
  return want.length === have.length ? parameters : undefined;
};

const decodePart = (value: string): string | undefined => {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
};

/** A body that is too large is read on for a while: a client that is still writing would not see the answer. */
const DISCARD_FACTOR = 8;

const readBody = async (request: IncomingMessage, bytesMax: number): Promise<string> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
    else if (bytes > bytesMax * DISCARD_FACTOR) break;
  }
  if (bytes > bytesMax) throw new AdminError(413, 'TOO_LARGE', `the body is larger than ${bytesMax} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new AdminError(400, 'INVALID', 'the body is not UTF-8');
  }
};

/** The body as a JSON object with no fields but these. */
export const jsonBody = (request: AdminRequest, fields: readonly string[]): Record<string, unknown> => {
  let value: unknown;
  try {
    value = JSON.parse(request.body);
  } catch {
    throw new AdminError(400, 'INVALID', 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new AdminError(400, 'INVALID', 'the body must be an object');
  const unknown = Object.keys(value).find((field) => !fields.includes(field));
  if (unknown !== undefined) throw new AdminError(400, 'INVALID', `unknown field ${JSON.stringify(unknown)}`);
  return value as Record<string, unknown>;
};

const errorReply = (error: AdminError): AdminReply => {
  const { code, message, problems } = error;
  return { status: error.status, json: { error: problems ? { code, message, problems } : { code, message } } };
};

const write = (response: ServerResponse, reply: AdminReply): void => {
  if ('stream' in reply) {
    reply.stream(response);
    return;
  }
  const text = 'json' in reply ? `${JSON.stringify(reply.json)}\n` : reply.text;
  const headers = 'json' in reply ? { 'content-type': 'application/json' } : reply.headers;
  response.writeHead(reply.status, { ...headers, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' });
  response.end(text);
};
