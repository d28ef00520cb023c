// Regular expressions in documents: RE2, full match, bounded.

import { RE2JS } from 're2js';
import { REGEX_CHARACTERS_MAX } from '../limits.ts';

export const checkRegex = (text: string): string | undefined => {
  if (text.length > REGEX_CHARACTERS_MAX) return `regex is too large, max length allowed is ${REGEX_CHARACTERS_MAX}`;
  try {
    RE2JS.compile(text);
    return undefined;
  } catch (e) {
    return `not an RE2 expression: ${e instanceof Error ? e.message : String(e)}`;
  }
};
