// RE2 regular expressions as Envoy's `safe_regex`: full match, and global substitution with `\1`. The engine is loaded
// when the first pattern is compiled, so a configuration without patterns does not pay for it. Linear in the input.
import { createRequire } from 'node:module';
import type { Matcher_RegexMatcher, RegexMatchAndSubstitute } from '../xds/gen/types.ts';
import { compilePlainPattern } from './plain-pattern.ts';
import { PlanError } from './plan-error.ts';

type Engine = typeof import('re2js').RE2JS;
type Pattern = ReturnType<Engine['compile']>;

const require = createRequire(import.meta.url);
const engine = (): Engine => (require('re2js') as { RE2JS: Engine }).RE2JS;

const compilePattern = (matcher: Matcher_RegexMatcher | undefined, path: string): Pattern => {
  const regex = matcher?.regex;
  if (regex === undefined || regex === '') throw new PlanError(`${path}.regex`, 'a pattern is required');
  try {
    return engine().compile(regex);
  } catch (cause) {
    throw new PlanError(`${path}.regex`, `not a RE2 pattern: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
};

/** Whether the whole text matches. */
export const compileFullMatch = (matcher: Matcher_RegexMatcher | undefined, path: string): ((text: string) => boolean) => {
  const regex = matcher?.regex ?? '';
  const plain = regex === '' ? undefined : compilePlainPattern(regex);
  if (plain !== undefined) return plain;
  const pattern = compilePattern(matcher, path);
  return (text) => pattern.matches(text);
};

/** What the groups of a pattern of ours took of a text that it matches whole; undefined: it does not. */
export const compileGroups = (regex: string): ((text: string) => readonly string[] | undefined) => {
  const pattern = engine().compile(regex);
  const count = pattern.groupCount();
  return (text) => {
    const matcher = pattern.matcher(text);
    if (!matcher.matches()) return undefined;
    return Array.from({ length: count }, (_, i) => matcher.group(i + 1) ?? '');
  };
};

/** Every match replaced; `\0`..`\9` in the substitution are groups, `\\` a backslash. */
export const compileSubstitution = (config: RegexMatchAndSubstitute | undefined, path: string): ((text: string) => string) => {
  const pattern = compilePattern(config?.pattern, `${path}.pattern`);
  const pieces = substitutionPieces(config?.substitution ?? '', pattern.groupCount(), `${path}.substitution`);
  return (text) => {
    const matcher = pattern.matcher(text);
    let out = '';
    let from = 0;
    while (matcher.find()) {
      // As RE2: nothing right behind a match is not a match.
      if (matcher.start() === matcher.end() && matcher.start() === from && from > 0) continue;
      out += text.slice(from, matcher.start());
      for (const piece of pieces) out += typeof piece === 'string' ? piece : (matcher.group(piece) ?? '');
      from = matcher.end();
    }
    return from === 0 && out === '' ? text : out + text.slice(from);
  };
};

const substitutionPieces = (text: string, groups: number, path: string): (string | number)[] => {
  const pieces: (string | number)[] = [];
  let literal = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c !== '\\') {
      literal += c;
      continue;
    }
    const next = text[++i];
    if (next === '\\') literal += '\\';
    else if (next !== undefined && next >= '0' && next <= '9') {
      if (Number(next) > groups) throw new PlanError(path, `group \\${next} does not exist in the pattern`);
      pieces.push(literal, Number(next));
      literal = '';
    } else throw new PlanError(path, 'a backslash must be followed by a digit or a backslash');
  }
  pieces.push(literal);
  return pieces.filter((p) => p !== '');
};
