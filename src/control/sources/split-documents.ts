// A YAML text of several documents cut into texts of one document each, every line where it was: the lines before a document
// are kept as empty lines. Cuts only at `---` lines, which YAML allows inside a block scalar at no column but 0 either.

/** Documents with nothing but comments are left out. */
export const splitDocuments = (text: string): readonly string[] => {
  const lines = text.split('\n');
  const pieces: string[] = [];
  let start = 0;
  const cut = (end: number): void => {
    const piece = lines.slice(start, end);
    if (piece.some((line) => line.trim() !== '' && !line.trimStart().startsWith('#') && !isMarker(line))) {
      pieces.push('\n'.repeat(start) + piece.join('\n'));
    }
    start = end;
  };
  for (const [i, line] of lines.entries()) if (i > 0 && isMarker(line)) cut(i);
  cut(lines.length);
  return pieces;
};

const isMarker = (line: string): boolean => /^(---|\.\.\.)(\s|$)/.test(line);
