// Whether a text is an expression of the Common Expression Language: its grammar and the shape of its macros, nothing about types or
// which names exist, as Istio judges it. A failure in words with the column, or undefined.

const EXPRESSION_DEPTH_MAX = 200;

interface Token {
  readonly kind: 'name' | 'literal' | 'sign' | 'end';
  readonly text: string;
  readonly at: number;
}

/** What an expression is, as far as macros ask. */
type Shape = 'name' | 'field' | 'other';

export const checkCel = (text: string): string | undefined => {
  try {
    new Parser(tokens(text)).whole();
    return undefined;
  } catch (e) {
    if (e instanceof CelSyntaxError) return `column ${e.at + 1}: ${e.message}`;
    throw e;
  }
};

class CelSyntaxError extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

const space = /(?:[\t\n\f\r ]|\/\/[^\n]*)*/y;
const pieces: readonly (readonly [Token['kind'], RegExp])[] = [
  ['literal', /(?:[bB][rR]?|[rR][bB]?)?(?:"""[\s\S]*?"""|'''[\s\S]*?''')/y],
  ['literal', /(?:[bB]?[rR]|[rR][bB])(?:"[^"\r\n]*"|'[^'\r\n]*')/y],
  ['literal', /[bB]?(?:"(?:[^"\\\r\n]|\\[\s\S])*"|'(?:[^'\\\r\n]|\\[\s\S])*')/y],
  ['literal', /(?:\d+\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.\d+(?:[eE][-+]?\d+)?)/y],
  ['literal', /(?:0x[0-9a-fA-F]+|\d+)[uU]?/y],
  ['name', /[A-Za-z_][A-Za-z0-9_]*/y],
  ['sign', /&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()[\]{}]/y],
];
const escapes = /\\(?:[abfnrtv"'`\\?]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})|\\/g;

const tokens = (text: string): Token[] => {
  const out: Token[] = [];
  let at = skip(text, 0);
  while (at < text.length) {
    const token = tokenAt(text, at);
    out.push(token);
    at = skip(text, at + token.text.length);
  }
  out.push({ kind: 'end', text: '', at: text.length });
  return out;
};

const skip = (text: string, at: number): number => {
  space.lastIndex = at;
  space.test(text);
  return space.lastIndex;
};

const tokenAt = (text: string, at: number): Token => {
  for (const [kind, pattern] of pieces) {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) continue;
    if (kind === 'literal') checkEscapes(found, at);
    return { kind, text: found, at };
  }
  throw new CelSyntaxError(`unexpected ${JSON.stringify(text[at])}`, at);
};

const checkEscapes = (literal: string, at: number): void => {
  if (/^(?:[bB]?[rR]|[rR][bB])["']/.test(literal)) return;
  for (const match of literal.matchAll(escapes))
    if (match[0] === '\\') throw new CelSyntaxError('unknown escape in text', at + match.index);
};

const reserved: ReadonlySet<string> = new Set([
  ...['as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'in', 'let', 'loop', 'package', 'namespace'],
  ...['return', 'var', 'void', 'while'],
]);
const constants: ReadonlySet<string> = new Set(['true', 'false', 'null']);
/** Macros on a list or map: how many arguments they may have. */
const macros: Readonly<Record<string, readonly number[]>> = { all: [2], exists: [2], exists_one: [2], map: [2, 3], filter: [2] };
/** From loosest to tightest. */
const levels: readonly ReadonlySet<string>[] = [
  new Set(['||']),
  new Set(['&&']),
  new Set(['<', '<=', '>', '>=', '==', '!=', 'in']),
  new Set(['+', '-']),
  new Set(['*', '/', '%']),
];

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(list: readonly Token[]) {
    this.#tokens = list;
  }

  whole(): void {
    this.#expression();
    if (this.#peek().kind !== 'end') this.#fail();
  }

  #peek(): Token {
    return this.#tokens[this.#next] ?? { kind: 'end', text: '', at: 0 };
  }

  #take(text: string): boolean {
    const token = this.#peek();
    if (token.text !== text || token.kind === 'literal') return false;
    this.#next++;
    return true;
  }

  #want(text: string): void {
    if (!this.#take(text)) this.#fail(text);
  }

  #fail(wanted?: string): never {
    const { kind, text, at } = this.#peek();
    const found = kind === 'end' ? 'the end' : JSON.stringify(text);
    throw new CelSyntaxError(wanted === undefined ? `unexpected ${found}` : `expected ${JSON.stringify(wanted)}, found ${found}`, at);
  }

  #expression(): Shape {
    if (++this.#depth > EXPRESSION_DEPTH_MAX) this.#fail();
    let shape = this.#binary(0);
    if (this.#take('?')) {
      this.#binary(0);
      this.#want(':');
      this.#expression();
      shape = 'other';
    }
    this.#depth--;
    return shape;
  }

  #binary(level: number): Shape {
    const signs = levels[level];
    if (!signs) return this.#unary();
    let shape = this.#binary(level + 1);
    while (this.#peek().kind !== 'literal' && signs.has(this.#peek().text)) {
      this.#next++;
      this.#binary(level + 1);
      shape = 'other';
    }
    return shape;
  }

  #unary(): Shape {
    const sign = this.#peek().kind === 'sign' ? this.#peek().text : '';
    if (sign !== '!' && sign !== '-') return this.#member();
    while (this.#take(sign));
    this.#member();
    return 'other';
  }

  #member(): Shape {
    let shape = this.#primary();
    for (;;) {
      if (this.#take('.')) {
        const name = this.#name();
        shape = this.#peek().text === '(' ? this.#call(name, true) : 'field';
      } else if (this.#take('[')) {
        this.#expression();
        this.#want(']');
        shape = 'other';
      } else if (shape !== 'other' && this.#peek().text === '{' && this.#peek().kind === 'sign') {
        this.#entries('}', () => this.#name());
        shape = 'other';
      } else return shape;
    }
  }

  #primary(): Shape {
    // A sign belongs to a number: `!-1`.
    if (/^[.\d]/.test(this.#tokens[this.#next + 1]?.text ?? '') && this.#tokens[this.#next + 1]?.kind === 'literal') this.#take('-');
    const token = this.#peek();
    if (token.kind === 'literal' || constants.has(token.text)) {
      this.#next++;
      return 'other';
    }
    if (this.#take('(')) {
      const shape = this.#expression();
      this.#want(')');
      return shape;
    }
    if (this.#take('[')) return this.#list(']');
    if (token.kind === 'sign' && token.text === '{') return this.#entries('}', () => this.#expression());
    const rooted = this.#take('.');
    const { text, at } = this.#peek();
    const name = this.#name();
    if (reserved.has(name)) throw new CelSyntaxError(`reserved word ${JSON.stringify(text)}`, at);
    return this.#peek().kind === 'sign' && this.#peek().text === '(' ? this.#call(rooted ? '' : name, false) : 'name';
  }

  #name(): string {
    const token = this.#peek();
    if (token.kind !== 'name' || constants.has(token.text) || token.text === 'in') this.#fail();
    this.#next++;
    return token.text;
  }

  #call(name: string, onMember: boolean): Shape {
    const { at } = this.#peek();
    this.#want('(');
    const shapes: Shape[] = [];
    if (!this.#take(')')) {
      do shapes.push(this.#expression());
      while (this.#take(','));
      this.#want(')');
    }
    if (name === 'has' && !onMember && shapes.length === 1 && shapes[0] !== 'field')
      throw new CelSyntaxError('has() asks for a field selection', at);
    if (onMember && macros[name]?.includes(shapes.length) && shapes[0] !== 'name')
      throw new CelSyntaxError(`the first argument of ${name}() must be a name`, at);
    return 'other';
  }

  #list(close: string): Shape {
    while (!this.#take(close)) {
      this.#expression();
      if (this.#take(',')) continue;
      this.#want(close);
      break;
    }
    return 'other';
  }

  #entries(close: string, key: () => unknown): Shape {
    this.#want('{');
    while (!this.#take(close)) {
      key();
      this.#want(':');
      this.#expression();
      if (this.#take(',')) continue;
      this.#want(close);
      break;
    }
    return 'other';
  }
}
