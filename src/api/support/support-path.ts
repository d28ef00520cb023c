// The notation of the tables of support.ts: `{a,b}` are alternatives.

export const expandBraces = (pattern: string): string[] => {
  const open = pattern.indexOf('{');
  if (open === -1) return [pattern];
  const close = pattern.indexOf('}', open);
  const alternatives = pattern.slice(open + 1, close).split(',');
  return alternatives.flatMap((a) => expandBraces(`${pattern.slice(0, open)}${a}${pattern.slice(close + 1)}`));
};
