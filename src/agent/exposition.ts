// What an application tells of itself, made fit to stand behind the proxy's own metrics in one page of Prometheus' text format: lines that
// are no samples go, OpenMetrics becomes the text format, and what the page has told already is left out. A line that cannot be read ends it.

export class ExpositionError extends Error {}

const TYPES: Readonly<Record<string, string>> = {
  counter: 'counter',
  gauge: 'gauge',
  histogram: 'histogram',
  summary: 'summary',
  untyped: 'untyped',
  unknown: 'untyped',
  info: 'gauge',
  stateset: 'gauge',
  gaugehistogram: 'untyped',
};
const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const COMMENT = new RegExp(`^#\\s+(HELP|TYPE)\\s+(${NAME})(?:\\s+(.*))?$`);
const SAMPLE = new RegExp(
  `^(${NAME})\\s*(\\{(?:\\s*[a-zA-Z_][a-zA-Z0-9_]*\\s*=\\s*"(?:[^"\\\\]|\\\\.)*"\\s*(?:,|(?=\\})))*\\s*\\})?\\s+([^\\s#]+)(?:\\s+(-?[\\d.eE+]+))?\\s*(?:#.*)?$`,
);
const SUFFIX = /_(?:total|bucket|sum|count|created|info|gsum|gcount)$/;
/** Of one piece. */
const LINES = 500;

export interface ExpositionOptions {
  readonly openMetrics: boolean;
  /** Names of families that the page has. */
  readonly taken: ReadonlySet<string>;
  /** Told of each line of a family that is left out. */
  readonly leftOut: () => void;
}

/** Pieces of whole lines, each the work of a moment. Throws ExpositionError; what was given before it stands. */
export function* cleanExposition(text: string, options: ExpositionOptions): Generator<string> {
  const page = new Page(options);
  let out = '';
  let lines = 0;
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at);
    const line = (end < 0 ? text.slice(at) : text.slice(at, end)).trim();
    at = end < 0 ? text.length : end + 1;
    if (line === '# EOF' && options.openMetrics) break;
    if (line !== '') out += line.startsWith('#') ? page.comment(line) : page.sample(line);
    if (++lines % LINES > 0) continue;
    yield out;
    out = '';
  }
  yield out;
}

class Page {
  readonly #options: ExpositionOptions;
  /** Families whose head was written. */
  readonly #headed = new Set<string>();
  #family = '';
  #help: string | undefined;
  #type: string | undefined;

  constructor(options: ExpositionOptions) {
    this.#options = options;
  }

  comment(line: string): string {
    const [, kind, name = '', rest = ''] = COMMENT.exec(line) ?? [];
    if (kind === undefined) return '';
    if (name !== this.#family) this.#begin(name);
    if (kind === 'HELP') this.#help = helpText(rest, this.#options.openMetrics);
    else {
      const type = rest.trim().toLowerCase();
      if (TYPES[type] === undefined) throw new ExpositionError(`a type that is none: ${line.slice(0, 80)}`);
      this.#type = type;
    }
    return '';
  }

  sample(line: string): string {
    const [, name, labels = '', value = '', time] = SAMPLE.exec(line) ?? [];
    if (name === undefined || !NUMBER.test(value) || (time !== undefined && !(this.#options.openMetrics ? NUMBER : WHOLE).test(time)))
      throw new ExpositionError(`a line that is no sample: ${line.slice(0, 80)}`);
    const family = this.#familyOf(name);
    if (family !== this.#family) this.#begin(family);
    const { openMetrics, taken, leftOut } = this.#options;
    if (openMetrics && name.endsWith('_created')) return '';
    const told =
      openMetrics && this.#type === 'counter' ? `${family}_total` : openMetrics && this.#type === 'info' ? `${family}_info` : family;
    if (taken.has(told) || taken.has(name)) {
      leftOut();
      return '';
    }
    const at = time === undefined ? '' : ` ${openMetrics ? Math.round(Number(time) * 1000) : time}`;
    return `${this.#head(told)}${name}${labelsText(labels)} ${value}${at}\n`;
  }

  /** What was said of the family of these lines before, or the name alone. */
  #familyOf(name: string): string {
    if (name === this.#family) return name;
    const stem = name.replace(SUFFIX, '');
    return stem === this.#family && this.#type !== undefined && this.#type !== 'gauge' ? stem : name;
  }

  #begin(family: string): void {
    this.#family = family;
    this.#help = undefined;
    this.#type = undefined;
  }

  #head(told: string): string {
    if (this.#headed.has(told)) return '';
    this.#headed.add(told);
    const help = this.#help === undefined ? '' : `# HELP ${told} ${this.#help}\n`;
    return this.#type === undefined ? help : `${help}# TYPE ${told} ${TYPES[this.#type]}\n`;
  }
}

/** As Prometheus reads numbers, which is not as JavaScript does. */
const NUMBER = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)$/i;
const WHOLE = /^-?\d+$/;

/** An escape that is none ends the whole page for strict readers: its backslash is one. OpenMetrics escapes quotes here too. */
const helpText = (text: string, openMetrics: boolean): string =>
  text.replace(/\\(.?)/g, (all, c: string) => (c === 'n' || c === '\\' ? all : openMetrics && c === '"' ? c : `\\\\${c}`));

const labelsText = (text: string): string =>
  text.includes('\\') ? text.replace(/\\(.)/g, (all, c: string) => (/[n\\"]/.test(c) ? all : `\\\\${c}`)) : text;
