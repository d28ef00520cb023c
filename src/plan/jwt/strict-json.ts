// JSON objects of tokens, read so that no two readers can see different things in them: valid UTF-8 with whole surrogate pairs, no name
// twice in one object, no number that is none, no deeper than DEPTH_MAX.
import type { JsonObject, JsonValue } from '../../xds/gen/types.ts';

const DEPTH_MAX = 100;
const UNFIT = -1;

/** undefined: it is none, or not one that everybody reads alike. */
export const readStrictObject = (bytes: Uint8Array): JsonObject | undefined => {
  let value: unknown;
  let text: string;
  try {
    // A byte order mark stays, and is no JSON.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const object = value as JsonObject;
  // Every name is followed by a colon, and colons are nowhere else but in strings. A name given twice is there once.
  return countNames(object, 0) === countColons(text) ? object : undefined;
};

const countNames = (value: JsonValue | undefined, depth: number): number => {
  if (typeof value === 'string') return value.isWellFormed() ? 0 : UNFIT;
  if (typeof value === 'number') return Number.isFinite(value) ? 0 : UNFIT;
  if (typeof value !== 'object' || value === null) return 0;
  if (depth >= DEPTH_MAX) return UNFIT;
  let names = 0;
  if (Array.isArray(value)) {
    for (const one of value as readonly JsonValue[]) {
      const inner = countNames(one, depth + 1);
      if (inner === UNFIT) return UNFIT;
      names += inner;
    }
    return names;
  }
  const object = value as JsonObject;
  for (const name of Object.keys(object)) {
    const inner = countNames(object[name], depth + 1);
    if (inner === UNFIT || !name.isWellFormed()) return UNFIT;
    names += 1 + inner;
  }
  return names;
};

const countColons = (json: string): number => {
  let colons = 0;
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i);
    if (c === 58) colons++;
    else if (c === 34) {
      for (i++; json.charCodeAt(i) !== 34; i++) if (json.charCodeAt(i) === 92) i++;
    }
  }
  return colons;
};
