// Requests with tokens that nobody may be let in with: each is made from a token that is good but for one thing, or signed by somebody
// who has no key. `stricter`: why it is refused here although a stock Envoy takes it.
import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import type { JwtAuthentication } from '../../src/xds/gen/types.ts';
import { bearing, type JwtRequest, provider } from './jwt-rig.ts';
import { base64url, CLAIMS, ED25519, jwk, mint, OTHER_RSA, P256, P384, P521, RSA, SECRET } from './token-mint.ts';

export interface Attack {
  readonly name: string;
  readonly request: JwtRequest;
  readonly stricter?: string;
  /** No attack: what the others are made from. */
  readonly good?: true;
}

const WEAK_RSA = generateKeyPairSync('rsa', { modulusLength: 1024 });
const TINY_RSA = generateKeyPairSync('rsa', { modulusLength: 512 });
const EVIL = generateKeyPairSync('rsa', { modulusLength: 2048 });

const KEYS = JSON.stringify({
  keys: [
    jwk(RSA, { kid: 'rs256', alg: 'RS256' }),
    jwk(RSA, { kid: 'any-rsa' }),
    jwk(RSA, { kid: 'rs512', alg: 'RS512' }),
    jwk(P256, { kid: 'p256' }),
    jwk(P384, { kid: 'p384' }),
    jwk(ED25519, { kid: 'ed' }),
    { kty: 'oct', kid: 'hmac', k: SECRET.toString('base64url') },
    jwk(OTHER_RSA, { kid: 'enc', use: 'enc' }),
    { ...jwk(OTHER_RSA, { kid: 'ops' }), key_ops: ['encrypt', 'wrapKey'] },
    jwk(WEAK_RSA, { kid: 'weak' }),
    jwk(TINY_RSA, { kid: 'tiny' }),
  ],
});
const HIS = JSON.stringify({ keys: [jwk(EVIL, { kid: 'his' })] });

/** Tokens of `p` are asked for; `q` is somebody else, whose keys are known too. */
export const GUARD: Partial<JwtAuthentication> = {
  providers: {
    p: provider({ audiences: ['api'], local_jwks: { inline_string: KEYS }, forward: true, failed_status_in_metadata: 'failure' }),
    q: provider({ issuer: 'https://other.test', local_jwks: { inline_string: HIS } }),
  },
  rules: [{ match: { prefix: '/' }, requires: { provider_name: 'p' } }],
};

const NO_JSON = 'RFC 8259: no JSON';
const THREE_PARTS = 'RFC 7515 7.1: three parts and two dots';
const RS = { alg: 'RS256', kid: 'rs256' };
const GOOD = mint(RS, CLAIMS, RSA);
const [HEAD = '', BODY = '', SIGNATURE = ''] = GOOD.split('.');
const PUBLIC_PEM = Buffer.from(RSA.publicKey.export({ type: 'spki', format: 'pem' }));

const attack = (name: string, token: string, stricter?: string): Attack => ({
  name,
  request: bearing(token),
  ...(stricter === undefined ? {} : { stricter }),
});
const claims = (text: string): string => mint(RS, text, RSA);
const withClaim = (claim: string): string => claims(`{"iss":"${CLAIMS.iss}","aud":"api",${claim}}`);
/** The header as text, signed well. */
const headed = (text: string): string => {
  const signed = `${base64url(text)}.${BODY}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), RSA.privateKey).toString('base64url')}`;
};
const signedAs = (header: object, signature: Buffer): string => `${base64url(header)}.${BODY}.${signature.toString('base64url')}`;
const signingInput = (header: object): Buffer => Buffer.from(`${base64url(header)}.${BODY}`);
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;

function* noAlgorithm(): Iterable<Attack> {
  for (const alg of ['none', 'None', 'NONE', 'nOnE', ' none', 'none ', 'none\u0000', 'nоne', '', 'null']) {
    yield attack(`alg "${alg}" and no signature`, `${base64url({ alg })}.${BODY}.`);
    yield attack(`alg "${alg}" and two parts`, `${base64url({ alg })}.${BODY}`);
    yield attack(`alg "${alg}" and a good signature`, mint({ ...RS, alg }, CLAIMS, RSA).replace(/[^.]*$/, SIGNATURE));
  }
  for (const alg of ['null', 'true', '1', '["RS256"]', '{"a":"RS256"}']) yield attack(`alg ${alg}`, headed(`{"alg":${alg},"kid":"rs256"}`));
  for (const alg of ['rs256', 'RS256 ', 'RS256\\u0000', 'RS-256', 'SHA256', 'ＲＳ256', 'RS1', 'ES256K', 'RSA-OAEP', 'HS1'])
    yield attack(`alg "${alg}"`, headed(`{"alg":"${alg}","kid":"rs256"}`));
  yield attack('no alg', headed('{"typ":"JWT","kid":"rs256"}'));
}

function* confusedAlgorithm(): Iterable<Attack> {
  const secrets: readonly (readonly [string, Buffer])[] = [
    ['the public key as PEM', PUBLIC_PEM],
    ['the public key as PEM without a newline', Buffer.from(PUBLIC_PEM.toString().trim())],
    ['the public key as DER', RSA.publicKey.export({ type: 'spki', format: 'der' })],
    ['the public key as PKCS1', Buffer.from(RSA.publicKey.export({ type: 'pkcs1', format: 'pem' }))],
    ['the public key as JWK', Buffer.from(JSON.stringify(jwk(RSA, { kid: 'rs256', alg: 'RS256' })))],
    ['the modulus', Buffer.from(RSA.publicKey.export({ format: 'jwk' }).n ?? '', 'base64url')],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const [what, secret] of secrets)
    for (const kid of ['rs256', 'any-rsa', 'hmac', undefined])
      yield attack(`HS256 with ${what} for secret, kid ${kid}`, mint({ alg: 'HS256', ...(kid ? { kid } : {}) }, CLAIMS, secret));
  for (const alg of ['HS256', 'RS384', 'PS256', 'ES256', 'EdDSA'])
    yield attack(`a good RS256 signature said to be ${alg}`, `${base64url({ alg, kid: 'any-rsa' })}.${BODY}.${SIGNATURE}`);
  const ps = { alg: 'PS256', kid: 'any-rsa' };
  yield attack('PKCS1 padding said to be PSS', signedAs(ps, sign('sha256', signingInput(ps), RSA.privateKey)));
  const rs = { alg: 'RS256', kid: 'any-rsa' };
  yield attack('PSS padding said to be PKCS1', mint(ps, CLAIMS, RSA).replace(/^[^.]*/, base64url(rs)));
  for (const salt of [0, 20, 64]) yield attack(`PSS with a salt of ${salt}`, mint(ps, CLAIMS, RSA, salt));
  yield attack('RS512 key, RS256 token', mint({ alg: 'RS256', kid: 'rs512' }, CLAIMS, RSA));
  yield attack('another hash than said', signedAs(rs, sign('sha512', signingInput(rs), RSA.privateKey)));
}

function* keyIds(): Iterable<Attack> {
  const odd = [
    '../../../dev/null',
    '/etc/passwd',
    "' OR '1'='1",
    "x' UNION SELECT 'k';--",
    'RS256',
    'rs256 ',
    ' rs256',
    'RS256\u0000',
    '*',
    '.*',
  ];
  for (const kid of [...odd, 'rs256/', 'http://evil.test/k', '$(id)', '__proto__', 'constructor', 'x'.repeat(10_000)])
    yield attack(`kid ${JSON.stringify(kid.slice(0, 24))}`, mint({ alg: 'RS256', kid }, CLAIMS, RSA));
  for (const kid of ['7', 'null', 'true', '["rs256"]', '{"kid":"rs256"}'])
    yield attack(`kid ${kid}`, headed(`{"alg":"RS256","kid":${kid}}`));
  yield attack("another provider's kid and key", mint({ alg: 'RS256', kid: 'his' }, CLAIMS, EVIL));
  yield attack("another provider's key, our kid", mint(RS, CLAIMS, EVIL));
  yield attack("another provider's key, no kid", mint({ alg: 'RS256' }, CLAIMS, EVIL));
  yield attack("another provider's key, empty kid", mint({ alg: 'RS256', kid: '' }, CLAIMS, EVIL));
  yield attack("another provider's token", mint({ alg: 'RS256', kid: 'his' }, { ...CLAIMS, iss: 'https://other.test' }, EVIL));
  for (const kid of ['p256', 'p384', 'ed', 'hmac', 'weak'])
    yield attack(`kid of a key of another kind: ${kid}`, mint({ alg: 'RS256', kid }, CLAIMS, RSA));
  const unfit = 'the set says that this key signs nothing';
  yield attack('kid of a key for encryption', mint({ alg: 'RS256', kid: 'enc' }, CLAIMS, OTHER_RSA), unfit);
  yield attack('no kid, the key for encryption', mint({ alg: 'RS256' }, CLAIMS, OTHER_RSA));
  yield attack('kid of a key whose operations are others', mint({ alg: 'RS256', kid: 'ops' }, CLAIMS, OTHER_RSA), unfit);
  yield attack('a key of 1024 bits', mint({ alg: 'RS256', kid: 'weak' }, CLAIMS, WEAK_RSA), 'RFC 7518 3.3: 2048 bits or more');
  yield attack('a key of 512 bits', mint({ alg: 'RS256', kid: 'tiny' }, CLAIMS, TINY_RSA), 'RFC 7518 3.3: 2048 bits or more');
}

function* headerMembers(): Iterable<Attack> {
  const his = jwk(EVIL);
  for (const [member, value] of [
    ['jku', 'https://evil.test/keys'],
    ['x5u', 'https://evil.test/cert'],
    ['jwk', his],
    ['x5c', [EVIL.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')]],
  ] as const)
    for (const kid of ['rs256', 'evil', undefined])
      yield attack(
        `a key of its own in ${member}, kid ${kid}`,
        mint({ alg: 'RS256', ...(kid ? { kid } : {}), [member]: value }, CLAIMS, EVIL),
      );
  const critical = 'RFC 7515 4.1.11: what must be understood and is not';
  for (const crit of ['["exp"]', '["b64"],"b64":false', '["unknown"],"unknown":1', '[]', '"b64"', '{}', 'null', '1'])
    yield attack(`crit ${crit}`, headed(`{"alg":"RS256","kid":"rs256","crit":${crit}}`), critical);
  yield attack('alg twice', headed('{"alg":"RS256","alg":"RS256","kid":"rs256"}'));
  yield attack('alg none, then RS256', headed('{"alg":"none","alg":"RS256","kid":"rs256"}'));
  yield attack('alg twice, once escaped', headed('{"alg":"RS256","\\u0061lg":"none","kid":"rs256"}'));
  yield attack('kid twice', headed('{"alg":"RS256","kid":"x","kid":"rs256"}'));
  yield attack('a member within a member twice', headed('{"alg":"RS256","kid":"rs256","x":{"a":1,"a":2}}'));
  for (const text of ['', 'null', '[]', '"x"', '1', '{', '{"alg":"RS256","kid":"rs256"}x']) yield attack(`header ${text}`, headed(text));
  for (const text of ["{'alg':'RS256'}", '{"alg":"RS256",}', '{alg:"RS256"}']) yield attack(`header ${text}`, headed(text), NO_JSON);
  yield attack('header with a comment', headed('{"alg":"RS256","kid":"rs256"/*x*/}'));
  yield attack('header with a byte order mark', headed('\ufeff{"alg":"RS256","kid":"rs256"}'));
  yield attack('header nested 200 deep', headed(`{"alg":"RS256","kid":"rs256","x":${nested(200)}}`));
}

function* claimShapes(): Iterable<Attack> {
  for (const name of ['exp', 'nbf', 'iat'])
    for (const value of [
      '"4102444800"',
      '-1',
      '1e400',
      'NaN',
      'Infinity',
      '18446744073709551616',
      '1e300',
      'true',
      'null',
      '[1]',
      '{}',
      '0x10',
      '01',
      '+1',
      '-0.5',
    ])
      yield attack(`${name} ${value}`, withClaim(`"${name}":${value}`));
  for (const name of ['iss', 'aud', 'sub', 'exp', 'x'])
    yield attack(`${name} twice`, claims(`{"iss":"${CLAIMS.iss}","aud":"api","sub":"a","exp":4102444800,"x":1,"${name}":"${CLAIMS.iss}"}`));
  yield attack('sub twice, once escaped', withClaim('"sub":"a","\\u0073ub":"root"'));
  yield attack('a claim twice within a claim', withClaim('"realm_access":{"roles":["user"],"roles":["admin"]}'));
  yield attack('a claim twice within a list', withClaim('"l":[{"a":1,"a":2}]'));
  for (const iss of [
    '"https://issuer.test/"',
    '"HTTPS://issuer.test"',
    '"https://issuer.test\\u0000"',
    '" https://issuer.test"',
    '["https://issuer.test"]',
    'null',
    '1',
    '{}',
    '""',
    '"https://issuer.tеst"',
    '"https://other.test"',
  ])
    yield attack(`iss ${iss}`, claims(`{"iss":${iss},"aud":"api"}`));
  yield attack('no iss', claims('{"aud":"api"}'));
  for (const aud of [
    '"apis"',
    '""',
    '[]',
    '["x"]',
    '[["api"]]',
    '[1]',
    '{"api":1}',
    'null',
    '"api,x"',
    '"API"',
    '"*"',
    '"api\\u0000"',
    '["api",1]',
    '"http://https://api"',
  ])
    yield attack(`aud ${aud}`, claims(`{"iss":"${CLAIMS.iss}","aud":${aud}}`));
  yield attack('no aud', claims(`{"iss":"${CLAIMS.iss}"}`));
  for (const sub of ['1', 'null', '["a"]', '{}']) yield attack(`sub ${sub}`, withClaim(`"sub":${sub}`));
  yield attack('jti 1', withClaim('"jti":1'));
  for (const text of ['', 'null', '[]', '"x"', '1', '{', '{}x', '\ufeff{}', '{"iss":"https://issuer.test","aud":"api"} {"iss":"x"}'])
    yield attack(`claims ${text}`, claims(text));
  yield attack('expired', mint(RS, { ...CLAIMS, exp: 1_000_000_000 }, RSA));
  yield attack('not yet', mint(RS, { ...CLAIMS, nbf: 4_000_000_000 }, RSA));
}

function* sizes(): Iterable<Attack> {
  for (const depth of [120, 1000, 4000]) yield attack(`claims nested ${depth} deep`, withClaim(`"x":${nested(depth)}`));
  yield attack('lists nested 3000 deep', withClaim(`"x":${'['.repeat(3000)}${']'.repeat(3000)}`));
  yield attack('30 KB of claims, signed by nobody', mint(RS, { ...CLAIMS, pad: 'x'.repeat(30_000) }, EVIL));
  yield attack('30 KB of signature', `${HEAD}.${BODY}.${'A'.repeat(30_000)}`);
  yield attack('30 KB of dots', '.'.repeat(30_000));
  yield attack('70 KB of token', mint(RS, { ...CLAIMS, pad: 'x'.repeat(70_000) }, RSA));
}

function* forms(): Iterable<Attack> {
  yield attack('no dot', HEAD);
  yield attack('one dot', `${HEAD}.${BODY}`);
  yield attack('three dots', `${GOOD}.`, THREE_PARTS);
  yield attack('four dots', `${GOOD}.x.y`);
  yield attack('a dot before', `.${GOOD}`, THREE_PARTS);
  yield attack('two dots together', `${HEAD}..${SIGNATURE}`);
  yield attack('no signature', `${HEAD}.${BODY}.`);
  yield attack('five parts, as if encrypted', `${base64url({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.a.b.c.d`);
  for (const [what, change] of [
    ['padding', (part: string) => `${part}${'='.repeat((4 - (part.length % 4)) % 4 || 4)}`],
    ['one character too many', (part: string) => `${part}${'A'.repeat((5 - (part.length % 4)) % 4 || 4)}`],
    ['a character cut off', (part: string) => part.slice(0, -1)],
    ['a blank inside', (part: string) => `${part.slice(0, 8)} ${part.slice(8)}`],
    ['a tab inside', (part: string) => `${part.slice(0, 8)}\t${part.slice(8)}`],
    ['a percent sign', (part: string) => `${part.slice(0, 8)}%41${part.slice(8)}`],
    ['a plus sign', (part: string) => `${part.slice(0, 8)}+${part.slice(9)}`],
    ['a slash', (part: string) => `${part.slice(0, 8)}/${part.slice(9)}`],
    ['padding inside', (part: string) => `${part.slice(0, 8)}=${part.slice(9)}`],
  ] as const) {
    yield attack(`header with ${what}`, `${change(HEAD)}.${BODY}.${SIGNATURE}`);
    yield attack(`claims with ${what}`, `${HEAD}.${change(BODY)}.${SIGNATURE}`);
    const signature = attack(`signature with ${what}`, `${HEAD}.${BODY}.${change(SIGNATURE)}`);
    if (what === 'padding') yield { ...signature, good: true };
    else yield /blank|tab/.test(what) ? { ...signature, stricter: 'RFC 7515 2: no blanks' } : signature;
  }
  yield attack('another last bit that is read by nobody', `${HEAD}.${BODY}.${otherTail(SIGNATURE)}`, 'one token has one text');
  yield attack('tampered claims', `${HEAD}.${base64url({ ...CLAIMS, sub: 'eve' })}.${SIGNATURE}`);
  yield attack('tampered header', `${base64url({ ...RS, typ: 'JWT' })}.${BODY}.${SIGNATURE}`);
}

// 256 bytes are 342 characters, of whose last four bits nobody reads.
const otherTail = (part: string): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return part.slice(0, -1) + alphabet.charAt(alphabet.indexOf(part.slice(-1)) ^ 1);
};

function* curves(): Iterable<Attack> {
  const es = { alg: 'ES256', kid: 'p256' };
  const input = signingInput(es);
  yield attack('an ECDSA signature in DER', signedAs(es, sign('sha256', input, P256.privateKey)));
  const raw = sign('sha256', input, { key: P256.privateKey, dsaEncoding: 'ieee-p1363' });
  const zero = Buffer.alloc(32);
  const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
  for (const [what, bytes] of [
    ['r and s zero', Buffer.concat([zero, zero])],
    ['r zero', Buffer.concat([zero, raw.subarray(32)])],
    ['s zero', Buffer.concat([raw.subarray(0, 32), zero])],
    ['r and s the order', Buffer.concat([order, order])],
    ['a byte more', Buffer.concat([raw, Buffer.from([0])])],
    ['r and s a byte longer', Buffer.concat([Buffer.from([0]), raw.subarray(0, 32), Buffer.from([0]), raw.subarray(32)])],
    ['a byte less', raw.subarray(0, 63)],
    ['one byte', Buffer.from([0])],
    ['s and r', Buffer.concat([raw.subarray(32), raw.subarray(0, 32)])],
  ] as const)
    yield attack(`ECDSA: ${what}`, signedAs(es, bytes), / byte (more|longer)$/.test(` ${what}`) ? 'RFC 7518 3.4: 64 bytes' : undefined);
  const curve = 'RFC 7518 3.4: each algorithm has its curve';
  yield attack('ES384 with the key of P-256', mint({ alg: 'ES384', kid: 'p256' }, CLAIMS, P256), curve);
  yield attack('ES256 with the key of P-384', mint({ alg: 'ES256', kid: 'p384' }, CLAIMS, P384), curve);
  const ed = { alg: 'EdDSA', kid: 'ed' };
  for (const size of [1, 63, 64, 65]) yield attack(`Ed25519: ${size} zeros`, signedAs(ed, Buffer.alloc(size)));
  yield attack('Ed25519: noise', signedAs(ed, randomBytes(64)));
  const hs = { alg: 'HS256', kid: 'hmac' };
  const mac = createHmac('sha256', SECRET).update(signingInput(hs)).digest();
  yield attack('HMAC cut short', signedAs(hs, mac.subarray(0, 16)));
  yield attack('HMAC and more', signedAs(hs, Buffer.concat([mac, mac])));
}

function* texts(): Iterable<Attack> {
  const bytes = (...payload: (string | readonly number[])[]): string => {
    const signed = `${HEAD}.${Buffer.concat(payload.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.from([...p])))).toString('base64url')}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), RSA.privateKey).toString('base64url')}`;
  };
  const before = `{"iss":"${CLAIMS.iss}","aud":"api","sub":"`;
  yield attack('claims that are no UTF-8', bytes(before, [0xff, 0xfe], '"}'));
  yield attack('an overlong slash', bytes(before, [0xc0, 0xaf], '"}'));
  yield attack('a surrogate as UTF-8', bytes(before, [0xed, 0xa0, 0x80], '"}'));
  yield attack('half a surrogate pair', withClaim('"sub":"\\ud800"'));
  yield attack('a control character as it is', bytes(before, [1], '"}'), NO_JSON);
  yield attack('a newline as it is', bytes(before, [10], '"}'), NO_JSON);
  yield attack('claims as UTF-16', bytes([...Buffer.from(JSON.stringify(CLAIMS), 'utf16le')]));
}

function* otherForms(): Iterable<Attack> {
  const flat = JSON.stringify({ payload: BODY, protected: HEAD, signature: SIGNATURE });
  const general = JSON.stringify({ payload: BODY, signatures: [{ protected: HEAD, signature: SIGNATURE }] });
  for (const [what, text] of [
    ['flattened', flat],
    ['general', general],
  ] as const) {
    yield attack(`a token in ${what} JSON`, text);
    yield { name: `a token in ${what} JSON as a parameter`, request: { path: `/?access_token=${encodeURIComponent(text)}` } };
  }
  for (const rest of [',', ';', '!', ',x', '\u00e9']) yield attack(`${JSON.stringify(rest)} behind`, `${GOOD}${rest}`);
  yield attack(
    'a zero byte before the signature',
    `${HEAD}.${BODY}.${Buffer.concat([Buffer.from([0]), Buffer.from(SIGNATURE, 'base64url')]).toString('base64url')}`,
  );
  yield attack('the header below __proto__', headed('{"__proto__":{"alg":"RS256","kid":"rs256"}}'));
  yield attack('the claims below __proto__', claims(`{"__proto__":{"iss":"${CLAIMS.iss}","aud":"api"}}`));
  yield attack('a header behind which a zero stands', headed('{"alg":"RS256","kid":"rs256"}\u0000'));
  yield attack('a key of no set', mint({ alg: 'ES512', kid: 'p521' }, CLAIMS, P521));
  yield attack('a number without its fraction', withClaim('"n":1.'));
  yield attack('an empty name twice', withClaim('"":1,"":2'));
  yield attack('a number of 400 digits', withClaim(`"n":${'9'.repeat(400)}`));
  yield attack('begins behind its end', withClaim('"nbf":4000000000,"exp":4000000001'));
}

function* places(): Iterable<Attack> {
  const auth = (value: string, ...more: string[]): JwtRequest => ({ headers: [`authorization: ${value}`, ...more] });
  const BAD = mint(RS, CLAIMS, EVIL);
  const rows: readonly (readonly [string, JwtRequest])[] = [
    ['no token', {}],
    ['an empty header', auth('')],
    ['Bearer and nothing', auth('Bearer ')],
    ['Bearer without a blank', auth(`Bearer${GOOD}`)],
    ['bearer', auth(`bearer ${GOOD}`)],
    ['BEARER', auth(`BEARER ${GOOD}`)],
    ['Bearer and a tab', auth(`Bearer\t${GOOD}`)],
    ['Bearer and a colon', auth(`Bearer: ${GOOD}`)],
    ['Basic', auth(`Basic ${Buffer.from(`u:${GOOD}`).toString('base64')}`)],
    ['the token alone', auth(GOOD)],
    ['two tokens in one value', auth(`Bearer ${GOOD},Bearer ${BAD}`)],
    ['two headers, the good one first', auth(`Bearer ${GOOD}`, `authorization: Bearer ${BAD}`)],
    ['two headers, the good one last', auth(`Bearer ${BAD}`, `authorization: Bearer ${GOOD}`)],
    ['a good header, a bad parameter', { path: `/?access_token=${BAD}`, ...auth(`Bearer ${GOOD}`) }],
    ['a bad header, a good parameter', { path: `/?access_token=${GOOD}`, ...auth(`Bearer ${BAD}`) }],
    ['a parameter twice, the bad one first', { path: `/?access_token=${BAD}&access_token=${GOOD}` }],
    ['a parameter in the fragment', { path: `/#?access_token=${GOOD}` }],
    ['a parameter of another case', { path: `/?Access_Token=${GOOD}` }],
    ['a header of another name', { headers: [`x-authorization: Bearer ${GOOD}`] }],
    ['a cookie', { headers: [`cookie: access_token=${GOOD}`] }],
    ['a quoted token', auth(`Bearer "${BAD}"`)],
  ];
  for (const [name, request] of rows) yield { name, request };
  const empty: JwtRequest = { headers: [`authorization: Bearer ${GOOD}`, 'authorization: '] };
  yield { name: 'two headers, the last one empty', request: empty, good: true };
  yield { name: 'two headers, the first one empty', request: auth('', `authorization: Bearer ${GOOD}`), good: true };
}

export const ATTACKS: readonly Attack[] = [
  { name: 'the good token', request: bearing(GOOD), good: true },
  ...noAlgorithm(),
  ...confusedAlgorithm(),
  ...keyIds(),
  ...headerMembers(),
  ...claimShapes(),
  ...sizes(),
  ...forms(),
  ...curves(),
  ...texts(),
  ...otherForms(),
  ...places(),
];
