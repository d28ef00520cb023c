// A trace as text: spans below their parents in the order of their beginning, each with a bar over the time of the whole. Pure.
import { fitted, milliseconds, type Paint, painted, visible } from './terminal-text.ts';

export interface Span {
  readonly spanId: string;
  /** '' or null: none. */
  readonly parentSpanId: string | null;
  readonly kind: string;
  readonly service: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly status: string | number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface Trace {
  readonly traceId: string;
  readonly partial: boolean;
  readonly notes: readonly string[];
  readonly spans: readonly Span[];
}

interface Line {
  readonly span: Span;
  readonly depth: number;
}

/** Roots first; a span whose parent is not there is a root, and so is the first of a circle. */
export const inOrder = (spans: readonly Span[]): readonly Line[] => {
  const known = new Set(spans.map((s) => s.spanId));
  const children = new Map<string, Span[]>();
  for (const span of spans) {
    const parent = span.parentSpanId !== null && span.parentSpanId !== span.spanId && known.has(span.parentSpanId) ? span.parentSpanId : '';
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [span]);
    else siblings.push(span);
  }
  const lines: Line[] = [];
  const seen = new Set<Span>();
  /** Without recursion: a trace may be deeper than the stack. */
  const walk = (list: readonly Span[]): void => {
    const todo = lastFirst(list, 0);
    for (let line = todo.pop(); line !== undefined; line = todo.pop()) {
      if (seen.has(line.span)) continue;
      seen.add(line.span);
      lines.push(line);
      todo.push(...lastFirst(children.get(line.span.spanId) ?? [], line.depth + 1));
    }
  };
  walk(children.get('') ?? []);
  for (const span of spans) walk([span]);
  return lines;
};

const lastFirst = (list: readonly Span[], depth: number): Line[] =>
  list
    .toSorted((a, b) => a.startUs - b.startUs)
    .reverse()
    .map((span) => ({ span, depth }));

const WIDTH_DEFAULT = 120;
const BAR_LEAST = 16;
const BARS_LEAST = 64;
const NAME_MOST = 60;

export const waterfall = (trace: Trace, { width, colours }: { readonly width: number | undefined; readonly colours: boolean }): string => {
  const lines = inOrder(trace.spans);
  const start = Math.min(...trace.spans.map((s) => s.startUs));
  const end = Math.max(...trace.spans.map((s) => s.startUs + s.durationUs));
  const whole = Math.max(1, end - start);
  const step = (width ?? WIDTH_DEFAULT) < BARS_LEAST ? ' ' : '  ';
  const labels = lines.map(({ span, depth }) =>
    visible(`${step.repeat(Math.min(depth, NAME_MOST))}${span.service} ${arrow(span.kind)} ${span.name}`),
  );
  const states = lines.map(({ span }) => visible(stateOf(span)));
  const durations = lines.map(({ span }) => milliseconds(span.durationUs / 1000));
  const durationWidth = Math.max(...durations.map((d) => d.length));
  const stateWidth = Math.max(...states.map((s) => s.length));
  const available = width ?? WIDTH_DEFAULT;
  const longest = Math.min(Math.max(...labels.map((l) => l.length)), NAME_MOST);
  // Names without bars say more than bars without names.
  const withBars = available >= BARS_LEAST;
  const room = available - durationWidth - stateWidth - (withBars ? BAR_LEAST + 8 : 4);
  const labelWidth = Math.min(longest, Math.max(12, room));
  const barWidth = Math.max(4, Math.min(60, available - labelWidth - durationWidth - stateWidth - 8));
  const rows = lines.map(({ span }, i) => {
    const from = Math.min(barWidth - 1, Math.floor(((span.startUs - start) / whole) * barWidth));
    const length = Math.max(1, Math.min(barWidth - from, Math.round((span.durationUs / whole) * barWidth)));
    const bar = `${' '.repeat(from)}${painted('█'.repeat(length), paintOf(span), colours)}${' '.repeat(barWidth - from - length)}`;
    const label = fitted(labels[i] ?? '', labelWidth).padEnd(labelWidth);
    return `${label}  ${withBars ? `│${bar}│ ` : ''}${(durations[i] ?? '').padStart(durationWidth)}  ${states[i] ?? ''}`.trimEnd();
  });
  const partial = trace.partial ? [painted('PARTIAL: not all of this trace is known', 'yellow', colours)] : [];
  const notes = trace.notes.map((n) => painted(`note: ${visible(n)}`, 'dim', colours));
  const head = `trace ${visible(trace.traceId)}  ${trace.spans.length} spans  ${milliseconds(whole / 1000)}  ${new Date(start / 1000).toISOString()}`;
  return `${[head, ...partial, ...rows, ...notes].join('\n')}\n`;
};

const arrow = (kind: string): string => ({ client: '→', server: '←' })[kind.toLowerCase()] ?? '·';

/** The HTTP or gRPC status and the flags, as far as the span has them. */
const stateOf = ({ status, attributes }: Span): string => {
  const code = attributes['http.response.status_code'] ?? attributes['http.status_code'] ?? attributes['status'];
  const flags = attributes['response_flags'] ?? attributes['flags'];
  return [code ?? status, flags === undefined || flags === '-' || flags === '' ? undefined : flags]
    .filter((v) => v !== undefined)
    .join(' ');
};

const paintOf = (span: Span): Paint => {
  if (typeof span.status === 'number' ? span.status >= 500 || span.status === 0 : /err/i.test(span.status)) return 'red';
  return span.kind.toLowerCase() === 'client' ? 'dim' : 'green';
};
