// A strict reader of Prometheus' text format: every line is a comment that means something or a sample, names and labels are well formed,
// the lines of a metric stand together behind one TYPE, no sample comes twice, and histograms are whole. Answers what is wrong.

export interface Sample {
  readonly name: string;
  readonly labels: { readonly [name: string]: string };
  readonly value: number;
}

export interface Exposition {
  readonly problems: readonly string[];
  readonly samples: readonly Sample[];
  readonly types: ReadonlyMap<string, string>;
}

const TYPES = new Set(['counter', 'gauge', 'histogram', 'summary', 'untyped']);
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LINE = /^([^\s{]+)(\{(.*)\})? ([^\s]+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

export const readStrictly = (text: string): Exposition => {
  const problems: string[] = [];
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const seen = new Set<string>();
  const closed = new Set<string>();
  let family = '';
  const enter = (name: string): void => {
    if (name === family) return;
    if (family !== '') closed.add(family);
    if (closed.has(name)) problems.push(`${name} stands in two places`);
    family = name;
  };
  if (!text.endsWith('\n')) problems.push('the last line has no end');
  for (const line of text.split('\n').slice(0, -1)) {
    if (line.startsWith('# HELP ')) {
      const name = line.split(' ')[2] ?? '';
      enter(name);
      if (helps.has(name)) problems.push(`${name} has two HELP lines`);
      if (/(?<!\\)(?:\\\\)*\\(?![\\n])/.test(line)) problems.push(`an escape that is none: ${line}`);
      helps.add(name);
      continue;
    }
    if (line.startsWith('# TYPE ')) {
      const [, , name = '', type = '', ...rest] = line.split(' ');
      enter(name);
      if (types.has(name)) problems.push(`${name} has two TYPE lines`);
      if (!NAME.test(name) || !TYPES.has(type) || rest.length > 0) problems.push(`a TYPE that is none: ${line}`);
      if (samples.at(-1) !== undefined && familyOf(samples.at(-1)?.name ?? '', types) === name)
        problems.push(`${name} has its TYPE behind samples`);
      types.set(name, type);
      continue;
    }
    const [, name = '', braces, inside = '', value = ''] = LINE.exec(line) ?? [];
    const labels = braces === undefined ? {} : labelsOf(inside);
    if (!NAME.test(name) || labels === undefined) {
      problems.push(`not a sample: ${line.slice(0, 200)}`);
      continue;
    }
    const number = value === '+Inf' ? Infinity : value === '-Inf' ? -Infinity : Number(value);
    if (Number.isNaN(number) && value !== 'NaN') problems.push(`not a number: ${line.slice(0, 200)}`);
    enter(familyOf(name, types));
    if (!types.has(family)) problems.push(`${name} has no TYPE`);
    const key = `${name}{${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(key)) problems.push(`twice: ${line.slice(0, 200)}`);
    seen.add(key);
    if (types.get(family) === 'counter' && number < 0) problems.push(`a counter below 0: ${line.slice(0, 200)}`);
    samples.push({ name, labels, value: number });
  }
  problems.push(...histogramProblems(samples, types));
  return { problems, samples, types };
};

const familyOf = (name: string, types: ReadonlyMap<string, string>): string => {
  if (types.has(name)) return name;
  const stem = name.replace(/_(?:bucket|sum|count)$/, '');
  const type = types.get(stem);
  return type === 'histogram' || type === 'summary' ? stem : name;
};

/** Undefined: they are none. */
const labelsOf = (inside: string): { [name: string]: string } | undefined => {
  const labels: { [name: string]: string } = {};
  for (LABEL.lastIndex = 0; LABEL.lastIndex < inside.length; ) {
    const found = LABEL.exec(inside);
    if (found === null) return undefined;
    const [, name = '', value = ''] = found;
    if (name in labels) return undefined;
    labels[name] = value.replaceAll(/\\(["\\n])/g, (_, c: string) => (c === 'n' ? '\n' : c));
  }
  return labels;
};

const histogramProblems = (samples: readonly Sample[], types: ReadonlyMap<string, string>): string[] => {
  const problems: string[] = [];
  const buckets = new Map<string, Sample[]>();
  const counts = new Map<string, number>();
  for (const sample of samples) {
    const stem = sample.name.replace(/_(?:bucket|sum|count)$/, '');
    if (types.get(stem) !== 'histogram' || types.has(sample.name)) continue;
    const { le: _, ...rest } = sample.labels;
    const key = `${stem}${JSON.stringify(rest)}`;
    if (sample.name.endsWith('_bucket')) buckets.set(key, [...(buckets.get(key) ?? []), sample]);
    else if (sample.name.endsWith('_count')) counts.set(key, sample.value);
    else if (sample.name === stem) problems.push(`${stem} is a histogram and has a sample of its own name`);
  }
  for (const [key, list] of buckets) {
    const bounds = list.map((b) => (b.labels['le'] === '+Inf' ? Infinity : Number(b.labels['le'])));
    if (bounds.some((b, i) => !(b > (bounds[i - 1] ?? -Infinity)))) problems.push(`${key}: bounds do not ascend`);
    if (list.some((b, i) => b.value < (list[i - 1]?.value ?? 0))) problems.push(`${key}: buckets do not add up`);
    if (bounds.at(-1) !== Infinity || list.at(-1)?.value !== counts.get(key)) problems.push(`${key}: its count is not its last bucket`);
  }
  return problems;
};
