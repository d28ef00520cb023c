// Logs people in: a page, a token for who knows the password, kept as a session in a cookie, and an answer to the gateway's question
// whether a request has a good session. What it knows is in the folder SECRETS, read at the start.
import { createPublicKey, sign, timingSafeEqual, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';

const folder = process.env['SECRETS'] ?? 'secrets';
const key = readFileSync(join(folder, 'token.key'));
const publicKey = createPublicKey(key);
const password = readFileSync(join(folder, 'password'), 'utf8').trim();
const LIFE_S = 900;
const BODY_BYTES_MAX = 4096;
const HEADER = Buffer.from(JSON.stringify({ alg: 'RS256', kid: 'login' })).toString('base64url');
const PAGE =
  '<!doctype html><title>Log in</title><form method="post"><input name="user"><input name="password" type="password"><button>Log in</button></form>';

const token = (user: string): string => {
  const exp = Math.floor(Date.now() / 1000) + LIFE_S;
  const claims = { iss: 'https://login.example.com', sub: user, aud: 'shop', exp };
  const text = `${HEADER}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
};

/** Whose session it is; undefined: nobody's. Only tokens made here have this header. */
const userOf = (session: string): string | undefined => {
  const [header, claims = '', signature = '', ...rest] = session.split('.');
  if (header !== HEADER || rest.length > 0) return undefined;
  if (!verify('sha256', Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, 'base64url'))) return undefined;
  const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { sub: string; exp: number };
  return exp > Date.now() / 1000 ? sub : undefined;
};

const sessionIn = (request: IncomingMessage): string => /(?:^|;\s*)session=([^;\s]+)/.exec(request.headers.cookie ?? '')?.[1] ?? '';

const isPassword = (text: string): boolean => {
  const [given, wanted] = [Buffer.from(text), Buffer.from(password)];
  return given.length === wanted.length && timingSafeEqual(given, wanted);
};

const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const path = (request.url ?? '/').split('?')[0] ?? '/';
  if (path === '/healthz') response.end('ok');
  else if (path.startsWith('/check')) {
    const user = userOf(sessionIn(request));
    if (user === undefined) response.writeHead(302, { location: '/login' }).end();
    else response.writeHead(200, { 'x-user': user }).end();
  } else if (path !== '/login') response.writeHead(404).end();
  else if (request.method !== 'POST') response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  else {
    const form = new URLSearchParams(await body(request));
    const user = form.get('user') ?? '';
    if (!/^[a-z]{1,32}$/.test(user) || !isPassword(form.get('password') ?? '')) response.writeHead(401).end('wrong user or password\n');
    else {
      const made = token(user);
      const cookie = `session=${made}; Path=/; Max-Age=${LIFE_S}; HttpOnly; Secure; SameSite=Lax`;
      response.writeHead(200, { 'content-type': 'application/json', 'set-cookie': cookie }).end(`${JSON.stringify({ token: made })}\n`);
    }
  }
};

const body = async (request: IncomingMessage): Promise<string> => {
  let text = '';
  for await (const chunk of request as AsyncIterable<Buffer>) {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) return '';
  }
  return text;
};

createServer((request, response) => {
  answer(request, response).catch(() => response.writeHead(400).end());
}).listen(Number(process.env['PORT'] ?? 8080));
