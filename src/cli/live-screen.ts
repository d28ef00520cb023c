// A view that goes on: drawn again and again on a terminal, once where the output is piped. Ctrl-C ends it as a success and leaves the
// terminal as it was.
import { wantsColours } from './terminal-text.ts';

export interface Look {
  /** Undefined: nobody looks, nothing is cut. */
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly colours: boolean;
}

export const look = (): Look => {
  const { isTTY, columns, rows } = process.stdout;
  if (!isTTY) return { width: undefined, height: undefined, colours: false };
  return { width: columns, height: rows, colours: wantsColours(true, process.env) };
};

/** Aborted by Ctrl-C and SIGTERM: whoever waits for it ends in order, and the process with 0. */
export const untilInterrupted = (): AbortSignal => {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      // A second one does not wait.
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    });
  // Whoever reads has had enough.
  process.stdout.on('error', () => process.exit(0));
  return controller.signal;
};

// Another screen, no cursor, and lines that end at the edge.
const ALTERNATE = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const RESTORED = '\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const REST_OF_LINE = '\u001b[K';
const REST_OF_SCREEN = '\u001b[J';

export interface LiveOptions {
  readonly intervalMs: number;
  readonly once: boolean;
  draw(look: Look): Promise<string>;
}

export const live = async ({ intervalMs, once, draw }: LiveOptions): Promise<void> => {
  if (once || !process.stdout.isTTY) {
    process.stdout.write(await draw(look()));
    return;
  }
  // What cannot be asked at all is said on the terminal as it was.
  const first = await draw(look());
  const signal = untilInterrupted();
  process.stdout.write(ALTERNATE);
  const restore = (): void => void process.stdout.write(RESTORED);
  process.once('exit', restore);
  try {
    for (let text = first; !signal.aborted; text = signal.aborted ? '' : await draw(look()).catch(told)) {
      paint(text);
      await sleep(intervalMs, signal);
    }
  } finally {
    process.off('exit', restore);
    restore();
  }
};

/** A control plane that restarts is no end: the next drawing may succeed. */
const told = (problem: unknown): string => `${problem instanceof Error ? problem.message : String(problem)}\n(trying again)\n`;

const paint = (text: string): void => {
  const { height } = look();
  const lines = text.split('\n');
  const shown = height === undefined ? lines : lines.slice(0, Math.max(1, height - 1));
  process.stdout.write(`${HOME}${shown.join(`${REST_OF_LINE}\n`)}${REST_OF_LINE}${REST_OF_SCREEN}`);
};

export const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
