// CEL's expressions read into a tree: literals, names, members, calls, lists, maps, operators with CEL's precedence. Depth and length are
// bounded. Throws PlanError with the place; decides nothing.

import { PlanError } from '../plan-error.ts';

export type CelNode =
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'member'; readonly of: CelNode; readonly name: string }
  | { readonly kind: 'index'; readonly of: CelNode; readonly at: CelNode }
  | { readonly kind: 'call'; readonly name: string; readonly on: CelNode | undefined; readonly args: readonly CelNode[] }
  | { readonly kind: 'list'; readonly items: readonly CelNode[] }
  | { readonly kind: 'unary'; readonly op: string; readonly of: CelNode }
  | { readonly kind: 'binary'; readonly op: string; readonly left: CelNode; readonly right: CelNode }
  | { readonly kind: 'choice'; readonly when: CelNode; readonly then: CelNode; readonly otherwise: CelNode };

interface Token {
  readonly kind: 'number' | 'string' | 'name' | 'sign' | 'end';
  readonly text: string;
  readonly value?: string | number;
  readonly at: number;
}

const LENGTH_MAX = 4096;
const DEPTH_MAX = 64;
/** From what binds least to what binds most. */
const LEVELS: readonly (readonly string[])[] = [['||'], ['&&'], ['==', '!=', '<=', '>=', '<', '>', 'in'], ['+', '-'], ['*', '/', '%']];
const TOKEN =
  /\s+|\/\/[^\n]*|((?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|0x[0-9a-fA-F]+|\d+)u?)|(r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))|([A-Za-z_]\w*)|(\|\||&&|[=!<>]=|[-+*/%<>!?:.,()[\]])/y;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' };

export const parseCel = (text: string, path: string): CelNode => new CelParser(tokensOf(text, path), path).whole();

const tokensOf = (text: string, path: string): Token[] => {
  if (text.length > LENGTH_MAX) throw new PlanError(path, `expression is longer than ${LENGTH_MAX} characters`);
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (found === null) throw new PlanError(path, `expression is not understood at ${at}: ${text.slice(at, at + 12)}`);
    const [, number, string, name, sign] = found;
    if (number !== undefined) tokens.push({ kind: 'number', text: number, value: Number(number.replace('u', '')), at });
    else if (string !== undefined) tokens.push({ kind: 'string', text: string, value: unquoted(string), at });
    else if (name !== undefined) tokens.push({ kind: name === 'in' ? 'sign' : 'name', text: name, at });
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign, at });
  }
  tokens.push({ kind: 'end', text: '', at: text.length });
  return tokens;
};

const unquoted = (quoted: string): string => {
  if (quoted.startsWith('r')) return quoted.slice(2, -1);
  return quoted.slice(1, -1).replaceAll(/\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)/g, (_, escaped: string) => {
    if (escaped.length > 1) return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    return ESCAPES[escaped] ?? escaped;
  });
};

class CelParser {
  readonly #tokens: readonly Token[];
  readonly #path: string;
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], path: string) {
    this.#tokens = tokens;
    this.#path = path;
  }

  whole(): CelNode {
    const node = this.#expression();
    if (this.#next.kind !== 'end') this.#fail();
    return node;
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '', at: 0 };
  }

  #fail(): never {
    const { text, at } = this.#next;
    throw new PlanError(this.#path, `expression is not understood at ${at}: ${text === '' ? 'it ends too early' : text}`);
  }

  #take(...signs: readonly string[]): string | undefined {
    const { kind, text } = this.#next;
    if (kind !== 'sign' || !signs.includes(text)) return undefined;
    this.#at++;
    return text;
  }

  #expect(sign: string): void {
    if (this.#take(sign) === undefined) this.#fail();
  }

  #expression(): CelNode {
    if (++this.#depth > DEPTH_MAX) throw new PlanError(this.#path, `expression is nested deeper than ${DEPTH_MAX}`);
    const when = this.#level(0);
    let node = when;
    if (this.#take('?') !== undefined) {
      const then = this.#level(0);
      this.#expect(':');
      node = { kind: 'choice', when, then, otherwise: this.#expression() };
    }
    this.#depth--;
    return node;
  }

  #level(level: number): CelNode {
    const signs = LEVELS[level];
    if (signs === undefined) return this.#unary();
    let left = this.#level(level + 1);
    for (let op = this.#take(...signs); op !== undefined; op = this.#take(...signs))
      left = { kind: 'binary', op, left, right: this.#level(level + 1) };
    return left;
  }

  #unary(): CelNode {
    const op = this.#take('!', '-');
    if (op === undefined) return this.#postfix(this.#primary());
    if (++this.#depth > DEPTH_MAX) throw new PlanError(this.#path, `expression is nested deeper than ${DEPTH_MAX}`);
    const of = this.#unary();
    this.#depth--;
    return { kind: 'unary', op, of };
  }

  #postfix(first: CelNode): CelNode {
    let node = first;
    for (;;) {
      if (this.#take('.') !== undefined) {
        const { kind, text: name } = this.#next;
        if (kind !== 'name') this.#fail();
        this.#at++;
        node =
          this.#take('(') === undefined ? { kind: 'member', of: node, name } : { kind: 'call', name, on: node, args: this.#items(')') };
      } else if (this.#take('[') !== undefined) {
        node = { kind: 'index', of: node, at: this.#expression() };
        this.#expect(']');
      } else return node;
    }
  }

  #items(end: string): CelNode[] {
    const items: CelNode[] = [];
    while (this.#take(end) === undefined) {
      if (items.length > 0) this.#expect(',');
      items.push(this.#expression());
    }
    return items;
  }

  #primary(): CelNode {
    const token = this.#next;
    if (this.#take('(') !== undefined) {
      const inner = this.#expression();
      this.#expect(')');
      return inner;
    }
    if (this.#take('[') !== undefined) return { kind: 'list', items: this.#items(']') };
    if (token.value !== undefined) {
      this.#at++;
      return { kind: 'literal', value: token.value };
    }
    if (token.kind !== 'name') this.#fail();
    this.#at++;
    const { text } = token;
    if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true' };
    if (text === 'null') return { kind: 'literal', value: null };
    return this.#take('(') === undefined
      ? { kind: 'name', name: text }
      : { kind: 'call', name: text, on: undefined, args: this.#items(')') };
  }
}
