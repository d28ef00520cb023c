// Query parameters of a request path, read where they stand.

/**
 * First value as it stands, or percent-decoded; '' for a name without `=`; undefined when it does not occur.
 * Route matching and hashing read it as it stands, as Envoy does.
 */
export const queryParameter = (path: string, name: string, decoded = false): string | undefined => {
  const read = decoded ? decode : asIs;
  const mark = path.indexOf('?');
  if (mark < 0) return undefined;
  const hash = path.indexOf('#', mark);
  const end = hash < 0 ? path.length : hash;
  for (let at = mark + 1; at <= end; ) {
    let next = path.indexOf('&', at);
    if (next < 0 || next > end) next = end;
    const equals = path.indexOf('=', at);
    const keyEnd = equals < 0 || equals > next ? next : equals;
    if (read(path.slice(at, keyEnd)) === name) return keyEnd === next ? '' : read(path.slice(keyEnd + 1, next));
    at = next + 1;
  }
  return undefined;
};

const asIs = (text: string): string => text;

/** Broken escapes stay as they are. */
const decode = (text: string): string => {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
};

/** The path without query and fragment; the same string when it has none. */
export const withoutQuery = (path: string): string => {
  const mark = path.indexOf('?');
  const hash = path.indexOf('#');
  const end = mark < 0 ? hash : hash < 0 ? mark : Math.min(mark, hash);
  return end < 0 ? path : path.slice(0, end);
};
