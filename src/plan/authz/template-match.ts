// envoy.extensions.path.match.uri_template: `/a/*/b/**`. `*` is one segment that is not empty, `**` whatever follows, also
// nothing; either stands at the beginning of a segment and a literal may follow it. `{name}` is `*`, `{name=pattern}` its pattern.
// Linear in the path, and without RE2: nothing is captured here (plan/path-template.ts does that for routes).
import { PlanError } from '../plan-error.ts';

/** What an operator may stand for: RFC 3986's pchar. */
const SEGMENT_CHARS = charTable("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;:@=");
const LITERAL = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=/]*$/;
const VARIABLES_MAX = 5;

function charTable(chars: string): Uint8Array {
  const table = new Uint8Array(128);
  for (const c of chars) table[c.charCodeAt(0)] = 1;
  return table;
}

type Operator = 'one' | 'rest';
interface Part {
  readonly operator: Operator | undefined;
  /** What must follow it. */
  readonly literal: string;
}

/** Whether a path (without query) is of the template. */
export const compilePathTemplate = (template: string, field: string): ((path: string) => boolean) => {
  const bare = withoutNames(template, field);
  if (!bare.startsWith('/')) throw new PlanError(field, `"${template}" does not begin with a slash`);
  if (bare.includes('//')) throw new PlanError(field, `"${template}" has an empty segment`);
  const parts = partsOf(bare, template, field);
  return (path) => matches(parts, path);
};

const withoutNames = (template: string, field: string): string => {
  let variables = 0;
  const bare = template.replace(/\{([^{}=]*)(?:=([^{}]*))?\}/g, (_, name: string, pattern: string | undefined) => {
    variables++;
    if (!/^[a-zA-Z][a-zA-Z0-9_]{0,15}$/.test(name)) throw new PlanError(field, `"${name}" is no name of a variable`);
    return pattern ?? '*';
  });
  if (variables > VARIABLES_MAX) throw new PlanError(field, `has more than ${VARIABLES_MAX} variables`);
  return bare;
};

const partsOf = (bare: string, template: string, field: string): Part[] => {
  const fail = (problem: string): never => {
    throw new PlanError(field, `"${template}": ${problem}`);
  };
  const parts: Part[] = [];
  let operator: Operator | undefined;
  for (let at = 0; at <= bare.length; ) {
    const star = bare.indexOf('*', at);
    const literal = star < 0 ? bare.slice(at) : bare.slice(at, star);
    if (!LITERAL.test(literal)) fail('a character that no path has');
    if (star >= 0 && !literal.endsWith('/')) fail('an operator must begin a segment');
    if (star >= 0 && operator === 'rest') fail('nothing but a literal may follow **');
    parts.push({ operator, literal });
    if (star < 0) break;
    operator = bare.startsWith('**', star) ? 'rest' : 'one';
    at = star + (operator === 'rest' ? 2 : 1);
  }
  return parts;
};

const matches = (parts: readonly Part[], path: string): boolean => {
  let at = 0;
  for (let i = 0; i < parts.length; i++) {
    const { operator, literal } = parts[i] as Part;
    const last = i === parts.length - 1;
    if (operator === 'rest') {
      // The last one: what it stands for ends where the literal must begin.
      const end = path.length - literal.length;
      return end >= at && path.endsWith(literal) && allAllowed(path, at, end, true);
    }
    if (operator === 'one') {
      const slash = path.indexOf('/', at);
      const segmentEnd = slash < 0 ? path.length : slash;
      const cut = literal.indexOf('/');
      const ending = cut < 0 ? literal.length : cut;
      const end = segmentEnd - ending;
      if (end <= at || !allAllowed(path, at, end, false)) return false;
      at = end;
    }
    if (!path.startsWith(literal, at)) return false;
    at += literal.length;
    if (last && at !== path.length) return false;
  }
  return true;
};

const allAllowed = (path: string, start: number, end: number, slashes: boolean): boolean => {
  for (let i = start; i < end; i++) {
    const c = path.charCodeAt(i);
    if (c > 127 || (SEGMENT_CHARS[c] === 0 && !(slashes && c === 47))) return false;
  }
  return true;
};
