// A format text cut into literals and compiled operators. `%%` is a percent sign.
import { compileOperator, type Operator } from './format-operator.ts';
import { PlanError } from './plan-error.ts';
import type { ProcessFacts } from './stream-info.ts';

export type FormatPiece = string | Operator;

export const compileFormatText = (format: string, path: string, process?: ProcessFacts): readonly FormatPiece[] => {
  const pieces: FormatPiece[] = [];
  let literal = '';
  for (let at = 0; at < format.length; ) {
    const c = format[at] as string;
    if (c !== '%') {
      literal += c;
      at++;
      continue;
    }
    if (format[at + 1] === '%') {
      literal += '%';
      at += 2;
      continue;
    }
    OPERATOR.lastIndex = at;
    const m = OPERATOR.exec(format);
    if (m === null) throw new PlanError(path, `no operator at "${format.slice(at, at + 40)}"`);
    const operator = compileOperator(m[1] as string, m[2], m[3] === undefined ? undefined : Number(m[3]), path, process);
    if (literal !== '') pieces.push(literal);
    literal = '';
    pieces.push(operator);
    at = OPERATOR.lastIndex;
  }
  if (literal !== '') pieces.push(literal);
  return pieces;
};

// NAME, (argument), :max. An argument may hold `%` (time formats), so it ends at `)` followed by `:digits%` or `%`.
const OPERATOR = /%([A-Z][A-Z0-9_]*)(?:\((.*?)\)(?=(?::\d+)?%))?(?::(\d+))?%/y;
