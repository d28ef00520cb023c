// What a client's `accept-encoding` says of one content coding that could be used, read as Envoy's compressor reads it.

export type EncodingChoice = 'chosen' | 'wildcard' | 'identity' | 'not-valid';

/** `first`: of equals, this coding. 'chosen' and 'wildcard': it is to be used. */
export const encodingChoice = (accepted: string, coding: string, first: boolean): EncodingChoice => {
  const wishes = accepted.split(',').filter((token) => token !== '');
  let refused = false;
  let seen = false;
  let best: EncodingChoice = 'identity';
  let bestWeight = 0;
  const read = wishes.map(wishOf);
  for (const wish of read) {
    if (wish === undefined) continue;
    seen = true;
    if (wish.weight === 0 && wish.name === coding) refused = true;
  }
  if (!seen || refused) return 'not-valid';
  for (const wish of read) {
    const kind = wish === undefined ? undefined : kindOf(wish.name, coding);
    if (wish === undefined || kind === undefined) continue;
    if (wish.weight > bestWeight || (wish.weight === bestWeight && kind === 'chosen' && first)) {
      best = kind;
      bestWeight = wish.weight;
    }
  }
  return bestWeight === 0 ? 'not-valid' : best;
};

const kindOf = (name: string, coding: string): EncodingChoice | undefined =>
  name === coding ? 'chosen' : name === '*' ? 'wildcard' : name === 'identity' ? 'identity' : undefined;

interface Wish {
  readonly name: string;
  readonly weight: number;
}

/** undefined: its weight is no number. */
const wishOf = (token: string): Wish | undefined => {
  const end = token.indexOf(';');
  if (end < 0) return { name: token.trim(), weight: 1 };
  const name = token.slice(0, end).trim();
  const parameter = token.slice(end + 1);
  const equals = parameter.indexOf('=');
  if (equals < 0 || parameter.slice(0, equals).trim().toLowerCase() !== 'q') return { name, weight: 1 };
  const text = parameter.slice(equals + 1).trim();
  return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text) ? { name, weight: Math.fround(Number(text)) } : undefined;
};
