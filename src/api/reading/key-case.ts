// Field names as people write them: snake_case beside lowerCamelCase (protojson reads both), and the nearest name to a misspelt one.

/** `retry_on` → `retryOn`; names without an underscore are returned as they are. */
export const lowerCamel = (key: string): string =>
  key.includes('_') ? key.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()) : key;

/** The name that was probably meant: other case first, else the fewest edits, at most a third of the name's length. */
export const nearest = (written: string, names: Iterable<string>): string | undefined => {
  const folded = fold(written);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(written.length / 3)) + 1;
  for (const name of names) {
    if (fold(name) === folded) return name;
    const distance = edits(written.toLowerCase(), name.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
};

const fold = (name: string): string => name.replaceAll(/[_-]/g, '').toLowerCase();

/** Edit distance (insert, delete, replace, swap of neighbours), `limit` as soon as it is reached. */
const edits = (a: string, b: string, limit: number): number => {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((row[j - 1] ?? 0) + 1, (previous[j] ?? 0) + 1, (previous[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? limit;
};
