// A file's bytes as text, or why they are none: larger than what is read of one file, or not UTF-8 in some line. Control plane and
// command line say it in the same words.

import { err, ok, type Result } from '../../base/result.ts';
import { FILE_BYTES_MAX } from '../limits.ts';
import type { Problem } from '../problem.ts';

export const tooLarge = (file: string): Problem => ({
  code: 'FILE_TOO_LARGE',
  severity: 'error',
  file,
  line: 1,
  column: 1,
  path: '',
  message: `the file is larger than ${FILE_BYTES_MAX} bytes`,
  hint: 'split it into several files; a folder may hold thousands',
});

export const textOf = (file: string, bytes: Uint8Array): Result<string, Problem> => {
  if (bytes.length > FILE_BYTES_MAX) return err(tooLarge(file));
  try {
    return ok(strict.decode(bytes));
  } catch {
    // The parser knows UTF-16 by what it looks like when read as UTF-8.
    return isUtf16(bytes) ? ok(Buffer.from(bytes).toString('utf8')) : err(notText(file, bytes));
  }
};

/** A byte order mark stays what it is: the first character. */
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const isUtf16 = ([a, b]: Uint8Array): boolean => (a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff);

const NEWLINE = 0x0a;

/** Only the first line that cannot be read is told. */
const notText = (file: string, bytes: Uint8Array): Problem => {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline === -1 ? bytes.length : newline;
    const column = badColumn(bytes.subarray(start, end));
    if (column !== undefined) {
      const message = 'the text is not UTF-8 here';
      const hint = 'it may be in Latin-1 or Windows-1252; save the file as UTF-8';
      return { code: 'YAML_SYNTAX', severity: 'error', file, line, column, path: '', message, hint };
    }
    start = end + 1;
  }
  return { code: 'YAML_SYNTAX', severity: 'error', file, line, column: 1, path: '', message: 'the text is not UTF-8' };
};

/** Where the first replacement stands that the bytes do not hold themselves. */
const badColumn = (line: Uint8Array): number | undefined => {
  try {
    strict.decode(line);
    return undefined;
  } catch {
    const bytes = Buffer.from(line);
    const text = bytes.toString('utf8');
    let offset = 0;
    for (let at = 0; at < text.length; at++) {
      const size = Buffer.byteLength(text.slice(at, at + 1));
      if (text[at] === '\uFFFD' && bytes.toString('latin1', offset, offset + 3) !== '\xEF\xBF\xBD') return at + 1;
      const code = text.charCodeAt(at);
      // The halves of a pair are four bytes together.
      offset += code >= 0xd800 && code <= 0xdfff ? 2 : size;
    }
    return 1;
  }
};
