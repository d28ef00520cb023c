// Path templates (envoy.extensions.path.match.uri_template.v3 and its rewrite): `/a/{id}/*/{rest=**}`. A segment that begins with
// `*` is any one, one that begins with `**` any number of them, `{name}` a `*` with a name, `{name=…}` what is written there.
import { PlanError } from './plan-error.ts';
import { compileGroups } from './regex.ts';

export interface PathTemplate {
  /** What the variables took, in their order; undefined: the path does not match. */
  readonly take: (path: string) => readonly string[] | undefined;
  readonly variables: readonly string[];
}

/** The characters of a literal, as a class of RE2: RFC 3986's pchar. */
const CHARS = "a-zA-Z0-9\\-._~%!$&'()*+,;=:@";
const LITERAL = new RegExp(`^[${CHARS}]+$`);
const GLOB = `[${CHARS}]+`;
const TEXT_GLOB = `[${CHARS}/]*`;
const BYTES_MAX = 256;
const VARIABLES_MAX = 5;
const NAME_MAX = 16;

/** Reads one template; what it refuses, it refuses with this path. */
class TemplateReader {
  readonly #path: string;
  readonly variables: string[] = [];
  #sawTextGlob = false;

  constructor(path: string) {
    this.#path = path;
  }

  read(text: string): string {
    if (text.length > BYTES_MAX) this.#refuse(`is longer than ${BYTES_MAX} characters`);
    if (!/^\/[!-~]*$/.test(text)) this.#refuse('must begin with / and hold no spaces');
    const segments = splitOutside(text.slice(1));
    const last = segments.length - 1;
    return `/${segments.map((s, i) => (s === '' && i === last ? '' : this.#segment(s, i === last))).join('/')}`;
  }

  /** A glob and a literal, or a variable between two literals, or a literal. */
  #segment(text: string, last: boolean): string {
    const [, before = '', wild, after = ''] = /^(?:(?=\*)|([^{]*)(?=\{))(\*\*|\*|\{[^}]*\})(.*)$/.exec(text) ?? [];
    if (wild === undefined) return this.#literal(text);
    if (wild.startsWith('*') && after !== '' && !last) this.#refuse('what follows a glob in its segment must end the template');
    const head = before === '' ? '' : this.#literal(before);
    const tail = after === '' ? '' : this.#literal(after);
    return head + (wild.startsWith('{') ? this.#variable(wild.slice(1, -1)) : this.#glob(wild)) + tail;
  }

  #literal(text: string): string {
    // Envoy takes a `*` behind other characters as a regular expression's: whoever writes it means a glob.
    if (!LITERAL.test(text) || text.includes('*')) this.#refuse(`"${text}" is not a literal of a path`);
    return text.replace(/[.$()+]/g, '\\$&');
  }

  #glob(text: string): string {
    if (this.#sawTextGlob) this.#refuse('nothing but literals may follow **');
    this.#sawTextGlob = text === '**';
    return this.#sawTextGlob ? TEXT_GLOB : GLOB;
  }

  #variable(text: string): string {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    if (!/^[a-zA-Z][a-zA-Z0-9_]*$/.test(name) || name.length > NAME_MAX) this.#refuse(`"${name}" cannot be a variable's name`);
    if (this.variables.includes(name)) this.#refuse(`"${name}" names two variables`);
    if (this.variables.push(name) > VARIABLES_MAX) this.#refuse(`has more than ${VARIABLES_MAX} variables`);
    const parts = equals < 0 ? ['*'] : text.slice(equals + 1).split('/');
    return `(${parts.map((part) => this.#variablePart(part)).join('/')})`;
  }

  #variablePart(part: string): string {
    if (!part.startsWith('*')) return this.#literal(part);
    if (part !== '*' && part !== '**') this.#refuse(`"${part}" is not a glob`);
    return this.#glob(part);
  }

  #refuse(why: string): never {
    throw new PlanError(this.#path, why);
  }
}

/** Segments: slashes inside braces are the variable's. */
const splitOutside = (text: string): string[] => {
  const segments = [''];
  let inside = false;
  for (const c of text) {
    if (c === '{') inside = true;
    else if (c === '}') inside = false;
    if (c === '/' && !inside) segments.push('');
    else segments[segments.length - 1] += c;
  }
  return segments;
};

export const compilePathTemplate = (text: string, path: string): PathTemplate => {
  const reader = new TemplateReader(path);
  const pattern = reader.read(text);
  return { take: compileGroups(pattern), variables: reader.variables };
};

/** The new path, without query: the template's variables in other places. */
export const compileTemplateRewrite = (text: string, template: PathTemplate | undefined, path: string): ((from: string) => string) => {
  if (template === undefined) throw new PlanError(path, 'needs a path_match_policy of a template on the same route');
  if (!text.startsWith('/')) throw new PlanError(path, 'must begin with /');
  if (text.includes('//')) throw new PlanError(path, 'must not hold //');
  const pieces: (string | number)[] = text.split(/(\{[^{}]*\})/).map((piece) => {
    if (!piece.startsWith('{')) {
      if (piece !== '' && !new RegExp(`^[${CHARS}/]+$`).test(piece)) throw new PlanError(path, `"${piece}" is not a literal of a path`);
      return piece;
    }
    const at = template.variables.indexOf(piece.slice(1, -1));
    if (at < 0) throw new PlanError(path, `${piece} is no variable of the route's template`);
    return at;
  });
  return (from) => {
    const taken = template.take(from) ?? [];
    return pieces.map((piece) => (typeof piece === 'number' ? (taken[piece] ?? '') : piece)).join('');
  };
};
