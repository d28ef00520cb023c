// A CEL expression as a predicate over a request that has ended, as Envoy's access log filter reads it: what has no value, or is not a bool,
// is no. `undefined` stands for CEL's error: a missing attribute or key, types that do not fit. `&&` and `||` bear one that
// cannot change their outcome. A function that is not known is refused.

import { PlanError } from '../plan-error.ts';
import { compileFullMatch } from '../regex.ts';
import {
  CEL_ATTRIBUTES,
  CelDuration,
  type CelFacts,
  CelHeaders,
  type CelPlace,
  CelStates,
  CelTime,
  celText,
  OF_THE_PLACE,
} from './attributes.ts';
import { type CelNode, parseCel } from './parse.ts';

type Value = (facts: CelFacts) => unknown;

/** Where an expression stands: in the configuration, for what is said of it; and at which place of the proxy, where there is one. */
interface Stand {
  readonly path: string;
  readonly place: CelPlace | undefined;
}

export const compileCel = (expression: string, path: string, place?: CelPlace): ((facts: CelFacts) => boolean) => {
  if (expression === '') throw new PlanError(path, 'is required');
  const value = compile(parseCel(expression, path), { path, place });
  return (facts) => value(facts) === true;
};

/** What an expression says, for `%CEL(…)%`. */
export const compileCelOperand = (expression: string, path: string, place: CelPlace | undefined): Value =>
  compile(parseCel(expression, path), { path, place });

/** The value of an expression as Istio's metrics read it: unlike a filter of access logs it may also add texts and make a text of a value. */
export const compileCelValue = (node: CelNode, path: string, place: CelPlace | undefined): Value =>
  compile(withTexts(node), { path, place });

/** What only this use knows stands under names that cannot be written. */
const withTexts = (node: CelNode): CelNode => {
  switch (node.kind) {
    case 'literal':
    case 'name':
      return node;
    case 'member':
      return { ...node, of: withTexts(node.of) };
    case 'index':
      return { ...node, of: withTexts(node.of), at: withTexts(node.at) };
    case 'list':
      return { ...node, items: node.items.map(withTexts) };
    case 'unary':
      return { ...node, of: withTexts(node.of) };
    case 'binary': {
      const [left, right] = [withTexts(node.left), withTexts(node.right)];
      return node.op === '+' ? { kind: 'call', name: ADD, on: undefined, args: [left, right] } : { ...node, left, right };
    }
    case 'choice': {
      const [when, then, otherwise] = [withTexts(node.when), withTexts(node.then), withTexts(node.otherwise)];
      return { kind: 'choice', when, then, otherwise };
    }
    case 'call':
      return {
        ...node,
        name: node.name === 'string' ? TEXT : node.name,
        on: node.on && withTexts(node.on),
        args: node.args.map(withTexts),
      };
  }
};
const ADD = '+';
const TEXT = '(string)';

const compile = (node: CelNode, stand: Stand): Value => {
  switch (node.kind) {
    case 'literal': {
      const { value } = node;
      return () => value;
    }
    case 'name':
      return attributesOf(node.name, stand);
    case 'member':
      return attribute(node, stand) ?? lookUp(compile(node.of, stand), () => node.name);
    case 'index':
      return lookUp(compile(node.of, stand), compile(node.at, stand));
    case 'list': {
      const items = node.items.map((item) => compile(item, stand));
      return (facts) => items.map((item) => item(facts));
    }
    case 'unary': {
      const of = compile(node.of, stand);
      if (node.op === '-') return (facts) => number(of(facts), (n) => -n);
      return (facts) => {
        const value = of(facts);
        return typeof value === 'boolean' ? !value : undefined;
      };
    }
    case 'binary':
      return binary(node.op, compile(node.left, stand), compile(node.right, stand));
    case 'choice': {
      const [when, then, otherwise] = [compile(node.when, stand), compile(node.then, stand), compile(node.otherwise, stand)];
      return (facts) => {
        const chosen = when(facts);
        return chosen === true ? then(facts) : chosen === false ? otherwise(facts) : undefined;
      };
    }
    case 'call':
      return call(node, stand);
  }
};

const NOWHERE: CelPlace = {};

/** A first name alone: all that is below it, by name. */
const attributesOf = (name: string, { place = NOWHERE }: Stand): Value => {
  const known = Object.hasOwn(CEL_ATTRIBUTES, name) ? CEL_ATTRIBUTES[name] : undefined;
  if (known === undefined) return () => undefined;
  const whole = known[''];
  if (whole !== undefined) return (facts) => whole(facts, place);
  return (facts) => Object.fromEntries(Object.entries(known).map(([key, value]) => [key, value(facts, place)]));
};

const attribute = (node: { readonly of: CelNode; readonly name: string }, { path, place }: Stand): Value | undefined => {
  if (node.of.kind !== 'name') return undefined;
  const { name: first } = node.of;
  const known = Object.hasOwn(CEL_ATTRIBUTES, first) ? CEL_ATTRIBUTES[first] : undefined;
  const value = known !== undefined && Object.hasOwn(known, node.name) ? known[node.name] : undefined;
  if (value === undefined) return undefined;
  if (place === undefined && OF_THE_PLACE.has(`${first}.${node.name}`))
    throw new PlanError(path, `attribute ${first}.${node.name} is not supported here: only in access logs and metrics`);
  return (facts) => value(facts, place ?? NOWHERE);
};

const lookUp =
  (of: Value, key: Value): Value =>
  (facts) => {
    const [from, name] = [of(facts), key(facts)];
    if (from instanceof CelHeaders || from instanceof CelStates) return typeof name === 'string' ? from.get(name) : undefined;
    if (Array.isArray(from)) return typeof name === 'number' ? from[name] : undefined;
    return isMap(from) && typeof name === 'string' && Object.hasOwn(from, name) ? from[name] : undefined;
  };

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !(value instanceof CelDuration) && !(value instanceof CelTime) && !Array.isArray(value);

const number = (value: unknown, change: (n: number) => number): number | undefined =>
  typeof value === 'number' ? change(value) : undefined;

// --- operators

const binary = (op: string, left: Value, right: Value): Value => {
  if (op === '&&' || op === '||') {
    const decides = op === '||';
    return (facts) => {
      const a = left(facts);
      if (a === decides) return decides;
      const b = right(facts);
      if (b === decides) return decides;
      return typeof a === 'boolean' && typeof b === 'boolean' ? !decides : undefined;
    };
  }
  const apply = OPERATORS[op];
  return (facts) => {
    const [a, b] = [left(facts), right(facts)];
    return a === undefined || b === undefined ? undefined : apply?.(a, b);
  };
};

const sortable = (a: unknown, b: unknown): number | undefined => {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  if (a instanceof CelDuration && b instanceof CelDuration) return a.ms - b.ms;
  return a instanceof CelTime && b instanceof CelTime ? a.ms - b.ms : undefined;
};
const ordered =
  (holds: (order: number) => boolean) =>
  (a: unknown, b: unknown): boolean | undefined => {
    const order = sortable(a, b);
    return order === undefined ? undefined : holds(order);
  };
const equal = (a: unknown, b: unknown): boolean => {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => equal(item, b[i]));
  return a === b || sortable(a, b) === 0;
};
const arithmetic =
  (apply: (a: number, b: number) => number | undefined) =>
  (a: unknown, b: unknown): number | undefined =>
    typeof a === 'number' && typeof b === 'number' ? apply(a, b) : undefined;
const contains = (item: unknown, list: unknown): boolean | undefined => {
  if (Array.isArray(list)) return list.some((other) => equal(item, other));
  if (list instanceof CelHeaders || list instanceof CelStates) return typeof item === 'string' ? list.get(item) !== undefined : undefined;
  return isMap(list) && typeof item === 'string' ? Object.hasOwn(list, item) && list[item] !== undefined : undefined;
};
const OPERATORS: Readonly<Record<string, (a: unknown, b: unknown) => unknown>> = {
  '==': equal,
  '!=': (a, b) => !equal(a, b),
  '<': ordered((order) => order < 0),
  '<=': ordered((order) => order <= 0),
  '>': ordered((order) => order > 0),
  '>=': ordered((order) => order >= 0),
  in: contains,
  // As Envoy, which adds no texts or lists.
  '+': arithmetic((a, b) => a + b),
  '-': arithmetic((a, b) => a - b),
  '*': arithmetic((a, b) => a * b),
  '/': arithmetic((a, b) => (b === 0 ? undefined : Number.isInteger(a) && Number.isInteger(b) ? Math.trunc(a / b) : a / b)),
  '%': arithmetic((a, b) => (b === 0 ? undefined : a % b)),
};

// --- functions

const ofTexts =
  (apply: (text: string, other: string) => boolean) =>
  (args: readonly unknown[]): boolean | undefined => {
    const [text, other] = args;
    return typeof text === 'string' && typeof other === 'string' ? apply(text, other) : undefined;
  };
const FUNCTIONS: Readonly<Record<string, { readonly takes: number; readonly apply: (args: readonly unknown[]) => unknown }>> = {
  startsWith: { takes: 2, apply: ofTexts((text, other) => text.startsWith(other)) },
  endsWith: { takes: 2, apply: ofTexts((text, other) => text.endsWith(other)) },
  contains: { takes: 2, apply: ofTexts((text, other) => text.includes(other)) },
  size: {
    takes: 1,
    apply: ([value]) => {
      if (typeof value === 'string') return [...value].length;
      return Array.isArray(value)
        ? value.length
        : isMap(value) && !(value instanceof CelHeaders || value instanceof CelStates)
          ? Object.keys(value).length
          : undefined;
    },
  },
  [ADD]: { takes: 2, apply: ([a, b]) => (typeof a === 'string' && typeof b === 'string' ? a + b : OPERATORS['+']?.(a, b)) },
  [TEXT]: { takes: 1, apply: ([value]) => (isScalar(value) ? celText(value) : undefined) },
  int: { takes: 1, apply: ([value]) => numeric(value, Math.trunc) },
  uint: { takes: 1, apply: ([value]) => numeric(value, (n) => (n < 0 ? undefined : Math.trunc(n))) },
  double: { takes: 1, apply: ([value]) => numeric(value, (n) => n) },
  duration: { takes: 1, apply: ([value]) => (typeof value === 'string' ? durationOf(value) : undefined) },
  timestamp: {
    takes: 1,
    apply: ([value]) => {
      const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
      return Number.isNaN(ms) ? undefined : new CelTime(ms);
    },
  },
};
const isScalar = (value: unknown): boolean =>
  ['string', 'number', 'boolean'].includes(typeof value) || value instanceof CelDuration || value instanceof CelTime;
const numeric = (value: unknown, apply: (n: number) => number | undefined): number | undefined => {
  const n = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return typeof n === 'number' ? apply(n) : undefined;
};

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, ns: 0.000001 };
const durationOf = (text: string): CelDuration | undefined => {
  if (!/^-?(\d+(\.\d+)?(h|ms|m|s|us|ns))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, value, unit] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)/g)) ms += Number(value) * (UNITS[unit ?? ''] ?? 0);
  return new CelDuration(text.startsWith('-') ? -ms : ms);
};

const call = ({ name, on, args }: Extract<CelNode, { kind: 'call' }>, stand: Stand): Value => {
  const { path } = stand;
  const all = on === undefined ? args : [on, ...args];
  const [first, second] = all;
  if (name === 'has' && on === undefined && args.length === 1) {
    if (first?.kind !== 'member') throw new PlanError(path, 'has() wants a member');
    const value = compile(first, stand);
    return (facts) => value(facts) !== undefined;
  }
  if (name === 'matches' && first !== undefined && all.length === 2) {
    // A pattern that is only known with the request would be compiled for each: none is.
    if (second?.kind !== 'literal' || typeof second.value !== 'string') throw new PlanError(path, 'matches() wants a literal pattern');
    const [text, finds] = [compile(first, stand), compileFullMatch({ regex: `(?s:.*?)(?:${second.value})(?s:.*)` }, path)];
    return (facts) => {
      const value = text(facts);
      return typeof value === 'string' ? finds(value) : undefined;
    };
  }
  const known = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (known === undefined || known.takes !== all.length)
    throw new PlanError(path, `function ${name} with ${all.length} arguments is not supported`);
  const values = all.map((arg) => compile(arg, stand));
  return (facts) => {
    const given = values.map((value) => value(facts));
    return given.includes(undefined) ? undefined : known.apply(given);
  };
};
