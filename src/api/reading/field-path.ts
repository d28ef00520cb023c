// Paths inside a document as problems write them: `spec.http[0].match[1].headers["x-canary"].exact`. Map keys that are not plain
// words stand in brackets and quotes, so that a path can be read back.

const plainKey = /^[A-Za-z_$][\w$-]*$/;

export const child = (path: string, key: string): string =>
  plainKey.test(key) ? (path === '' ? key : `${path}.${key}`) : `${path}[${JSON.stringify(key)}]`;

/** Fields below one another, `tls.mode`; `child` takes a key as it is, dots and all. */
export const below = (path: string, fields: string): string => (path === '' ? fields : `${path}.${fields}`);

export const item = (path: string, index: number): string => `${path}[${index}]`;

/** `a.b[2]["c d"]` → `['a', 'b', 2, 'c d']`. Text that is no path gives what could be read of it. */
export const splitPath = (path: string): (string | number)[] => {
  const steps: (string | number)[] = [];
  const token = /\.?([A-Za-z_$][\w$-]*)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/y;
  while (token.lastIndex < path.length) {
    const found = token.exec(path);
    if (!found) break;
    if (found[1] !== undefined) steps.push(found[1]);
    else if (found[2] !== undefined) steps.push(Number(found[2]));
    else if (found[3] !== undefined) steps.push(JSON.parse(found[3]) as string);
  }
  return steps;
};
