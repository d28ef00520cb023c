// Text of strangers on a terminal: what would drive it is shown and not sent, tables fit its width, and colours are there only where
// somebody sees them. Pure.

/** Control characters, also those of the C1 set, and what turns the direction of writing: ESC in a path is shown as `\x1b`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

export const visible = (text: string): string =>
  text.replace(CONTROL, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });

/** No wider than `width`, with a sign where something is missing. */
export const fitted = (text: string, width: number): string => {
  if (text.length <= width) return text;
  return width <= 1 ? text.slice(0, Math.max(0, width)) : `${text.slice(0, width - 1)}…`;
};

export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row) => string;
  readonly right?: boolean;
  /** May be cut down to so many characters where the terminal is narrow; absent: never. */
  readonly least?: number;
  /** What is cut is its beginning. */
  readonly keepEnd?: boolean;
  /** Left out where the terminal is too narrow for it, the highest first. */
  readonly spare?: number;
  readonly paint?: (row: Row) => Paint | undefined;
}

export type Paint = 'red' | 'yellow' | 'green' | 'dim' | 'bold';
const CODES: Readonly<Record<Paint, string>> = { red: '31', yellow: '33', green: '32', dim: '2', bold: '1' };
export const painted = (text: string, paint: Paint | undefined, colours: boolean): string =>
  paint === undefined || !colours || text === '' ? text : `\u001b[${CODES[paint]}m${text}\u001b[0m`;

const GAP = '  ';

/** `width`: of the terminal; undefined where nobody looks: nothing is cut. */
export const tableText = <Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { width, colours }: { readonly width: number | undefined; readonly colours: boolean },
): string => {
  const shown = width === undefined ? columns : roomFor(columns, rows, width);
  const cells = rows.map((row) => shown.map((c) => visible(c.cell(row))));
  const widths = shown.map((c, i) => Math.max(c.head.length, ...cells.map((row) => row[i]?.length ?? 0)));
  if (width !== undefined) {
    narrow(shown, widths, width, 0);
    // Where that is not enough, names are cut to where they can hardly be told apart: the line stays one.
    narrow(shown, widths, width, LEAST_OF_ALL);
  }
  const line = (texts: readonly string[], paint: (i: number) => Paint | undefined): string => {
    const parts = texts.map((text, i) => {
      const w = widths[i] ?? 0;
      const cut = shown[i]?.keepEnd === true && text.length > w && w > 1 ? `…${text.slice(1 - w)}` : fitted(text, w);
      const padded = shown[i]?.right === true ? cut.padStart(w) : cut.padEnd(w);
      return padded.replace(cut, () => painted(cut, paint(i), colours));
    });
    return parts.join(GAP).trimEnd();
  };
  const head = line(
    shown.map((c) => c.head),
    () => 'bold',
  );
  const body = rows.map((row, r) => line(cells[r] ?? [], (i) => shown[i]?.paint?.(row)));
  return `${[head, ...body].join('\n')}\n`;
};

/** Without spare columns, as long as cutting the others would not make room enough. */
const roomFor = <Row>(all: readonly Column<Row>[], rows: readonly Row[], width: number): readonly Column<Row>[] => {
  const columns = [...all];
  const needed = (c: Column<Row>): number =>
    Math.max(c.head.length, c.least ?? Math.max(0, ...rows.map((row) => visible(c.cell(row)).length)));
  while (columns.reduce((n, c) => n + needed(c) + GAP.length, -GAP.length) > width) {
    const most = Math.max(...columns.map((c) => c.spare ?? 0));
    if (most === 0) break;
    columns.splice(
      columns.findLastIndex((c) => c.spare === most),
      1,
    );
  }
  return columns;
};

const LEAST_OF_ALL = 8;

/** Takes from the widest that may be cut until it fits or nothing can be cut. `most`: of what is least, 0 for all of it. */
const narrow = (columns: readonly { readonly least?: number }[], widths: number[], width: number, most: number): void => {
  const leastOf = (i: number): number => {
    const least = columns[i]?.least ?? Number.POSITIVE_INFINITY;
    return most > 0 && least !== Number.POSITIVE_INFINITY ? Math.min(most, least) : least;
  };
  const total = (): number => widths.reduce((n, w) => n + w, 0) + GAP.length * (widths.length - 1);
  for (let over = total() - width; over > 0; over = total() - width) {
    let widest = -1;
    for (const [i, w] of widths.entries()) if (w > leastOf(i) && w > (widths[widest] ?? 0)) widest = i;
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
};

/** NO_COLOR and a dumb terminal have none. */
export const wantsColours = (tty: boolean, env: Readonly<Record<string, string | undefined>>): boolean =>
  tty && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';

export const milliseconds = (ms: number | null): string => {
  if (ms === null) return '-';
  // Told in whole ones, and less than one is not nothing.
  if (Number.isInteger(ms) && ms < 10) return ms === 0 ? '<1ms' : `${ms}ms`;
  if (ms < 10) return `${ms.toFixed(1)}ms`;
  if (ms < 10_000) return `${Math.round(ms)}ms`;
  return `${(ms / 1000).toFixed(1)}s`;
};

export const rate = (n: number): string => (n === 0 ? '0' : n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : String(Math.round(n)));

export const percent = (share: number | null): string => (share === null ? '-' : `${(Math.floor(share * 10_000) / 100).toFixed(2)}%`);

export const bytes = (n: number): string => {
  let left = n;
  for (const unit of ['B', 'KB', 'MB', 'GB']) {
    if (left < 1000) return `${unit === 'B' || left >= 100 ? Math.round(left) : left.toFixed(1)}${unit}`;
    left /= 1000;
  }
  return `${left.toFixed(1)}TB`;
};
