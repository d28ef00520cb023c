// Claims as others are told them: in a header's value, or with lists that were written with spaces made lists.
import type { JsonObject, JsonValue } from '../../xds/gen/types.ts';

/** The claim `a.b.c`; undefined when it is not there. */
const claimAt = (payload: JsonObject, name: readonly string[]): JsonValue | undefined => {
  let at: JsonValue | undefined = payload;
  for (const key of name) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return undefined;
    at = Object.hasOwn(at, key) ? (at as JsonObject)[key] : undefined;
  }
  return at;
};

/** As a header's value, a character for each octet; undefined: nothing to be told. Lists and objects are base64 of their JSON. */
export const claimText = (payload: JsonObject, name: readonly string[]): string | undefined => {
  const value = claimAt(payload, name);
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string') return asOctets(value);
  if (typeof value === 'boolean') return String(value);
  if (typeof value !== 'number') return Buffer.from(JSON.stringify(value)).toString('base64');
  if (value >= 0 && value < 2 ** 64 && Number.isInteger(value)) return BigInt(value).toString();
  return value.toFixed(6);
};

const asOctets = (text: string): string => (/[\u0080-\uffff]/.test(text) ? Buffer.from(text).toString('latin1') : text);

export const normalizedClaims = (payload: JsonObject, spaceDelimited: readonly string[]): JsonObject => {
  const split: Record<string, JsonValue> = {};
  let any = false;
  for (const name of spaceDelimited) {
    const value = Object.hasOwn(payload, name) ? payload[name] : undefined;
    if (typeof value !== 'string') continue;
    split[name] = value.split(' ').filter((word) => word !== '');
    any = true;
  }
  return any ? { ...payload, ...split } : payload;
};
