// Patterns that need no engine: a literal with `.*` or `.+` before it, behind it or both, as policies are full of (`.+`,
// `.*/ns/shop/.*`). Decided by text search, so that a sidecar with nothing harder never loads RE2.

/** Printable ASCII that is itself, or escaped to be. */
const PLAIN = /^(\.[*+])?((?:[ !"#%&',\-/0-9:;<=>@A-Z_`a-z~]|\\[!-/:-@[-`{-~])*)(\.[*+])?$/;

/** Whether the whole text matches, as RE2 says it; undefined: the pattern is none of these. */
export const compilePlainPattern = (pattern: string): ((text: string) => boolean) | undefined => {
  const parts = PLAIN.exec(pattern);
  if (parts === null) return undefined;
  const [, before, escaped = '', behind] = parts;
  // Two dots may share a character of two units here, but not in RE2.
  if (escaped === '' && before !== undefined && behind !== undefined) return undefined;
  const literal = escaped.replace(/\\(.)/g, '$1');
  const least = before === '.+' ? 1 : 0;
  const most = behind === '.+' ? 1 : 0;
  // A dot takes no line feed, and no literal here has one.
  if (before === undefined && behind === undefined) return (text) => text === literal;
  if (before === undefined) return (text) => text.startsWith(literal) && text.length - literal.length >= most && !text.includes('\n');
  if (behind === undefined) return (text) => text.endsWith(literal) && text.length - literal.length >= least && !text.includes('\n');
  return (text) => {
    const at = text.indexOf(literal, least);
    return at >= least && text.length - at - literal.length >= most && !text.includes('\n');
  };
};
