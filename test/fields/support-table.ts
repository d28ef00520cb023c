// What a sidecar does with every field it can be sent, as src/xds/support/*.txt has it, and which fields those are.
//
// The form: a line that is not indented names a message; behind ` in ` it may name fields (Message.field) where the rows below hold
// instead of the message's own. Below it, indented, a row for each of its fields: its name, its class, words.
//   honoured CASE     it has its effect; the case of test/fields/cases/ fails when it is blanked. `-`: no case yet
//   inert WHY         accepted; nothing that a user sees depends on it
//   refused [WHY]     the resource is refused by src/xds/refused-fields.ts, which reads these rows
//   refused code      the same, by the code that compiles the message
//   refused decoder   the same, by the decoder (`refused` in src/xds/proto/newer-fields.txt)
// A message stands in the tables when it can be reached from a root over honoured fields, and has fields.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXTENSIONS } from '../../src/proxy/bootstrap/node.ts';
import { typeOfUrl } from '../../src/xds/codec.ts';
import { type Descriptor, descriptor, type Field } from '../../src/xds/descriptor.ts';

const FOLDER = join(import.meta.dirname, '../../src/xds/support');

export type Class = 'honoured' | 'inert' | 'refused';
export interface Row {
  readonly section: Section;
  readonly field: string;
  readonly class: Class;
  /** Case, reason, or who refuses. */
  readonly words: string;
}
export interface Section {
  readonly file: string;
  readonly message: string;
  /** Where it holds; empty: wherever no other section does. */
  readonly places: readonly string[];
  readonly rows: Map<string, Row>;
}

/** Sent as resources, and read at start. */
export const RESOURCES: readonly string[] = [
  'envoy.config.bootstrap.v3.Bootstrap',
  'envoy.config.listener.v3.Listener',
  'envoy.config.route.v3.RouteConfiguration',
  'envoy.config.cluster.v3.Cluster',
  'envoy.config.endpoint.v3.ClusterLoadAssignment',
  'envoy.extensions.transport_sockets.tls.v3.Secret',
];
/** Understood inside an Any beside what the node announces. */
const UNDERSTOOD: readonly string[] = [
  'envoy.config.route.v3.FilterConfig',
  'envoy.extensions.filters.http.buffer.v3.BufferPerRoute',
  'envoy.extensions.filters.http.compressor.v3.CompressorPerRoute',
  'envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute',
  'envoy.extensions.filters.http.cors.v3.CorsPolicy',
  'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
  'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
  'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig',
  'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
];
const roots = (): readonly string[] => [
  ...RESOURCES,
  ...new Set([...EXTENSIONS.flatMap((e) => (e.type_urls ?? []).map(typeOfUrl)), ...UNDERSTOOD]),
];

export class SupportTable {
  readonly sections: readonly Section[];
  readonly problems: string[] = [];
  readonly #byMessage = new Map<string, Section>();
  readonly #byPlace = new Map<string, Section>();

  constructor(sections: readonly Section[], problems: readonly string[]) {
    this.sections = sections;
    this.problems.push(...problems);
    for (const section of sections) {
      const keys = section.places.length === 0 ? [section.message] : section.places.map((place) => `${section.message} in ${place}`);
      for (const key of keys) {
        const map = section.places.length === 0 ? this.#byMessage : this.#byPlace;
        if (map.has(key)) this.problems.push(`${section.file}: ${key} stands twice`);
        map.set(key, section);
      }
    }
  }

  /** `place`: the field (Message.field) that holds the message; '' inside an Any. */
  sectionOf(message: string, place: string): Section | undefined {
    return this.#byPlace.get(`${message} in ${place}`) ?? this.#byMessage.get(message);
  }

  row(message: string, place: string, field: string): Row | undefined {
    return this.sectionOf(message, place)?.rows.get(field);
  }

  rows(): Row[] {
    return this.sections.flatMap((section) => [...section.rows.values()]);
  }
}

export const readSupport = (): SupportTable => {
  const sections: Section[] = [];
  const problems: string[] = [];
  for (const file of readdirSync(FOLDER).sort()) {
    let section: Section | undefined;
    for (const line of readFileSync(join(FOLDER, file), 'utf8').split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      if (!line.startsWith('  ')) {
        const [message = '', , ...places] = line.split(' ');
        section = { file, message, places, rows: new Map() };
        sections.push(section);
        continue;
      }
      const [field = '', kind = '', ...words] = line.trim().split(' ');
      if (section === undefined || !isClass(kind)) problems.push(`${file}: ${line}: no row`);
      else if (section.rows.has(field)) problems.push(`${file}: ${section.message} ${field} stands twice`);
      else {
        if (kind !== 'refused' && words.length === 0) problems.push(`${file}: ${section.message} ${field}: says no more than ${kind}`);
        section.rows.set(field, { section, field, class: kind, words: words.join(' ') });
      }
    }
  }
  return new SupportTable(sections, problems);
};

const isClass = (word: string): word is Class => word === 'honoured' || word === 'inert' || word === 'refused';

/** Puts case names into honoured rows. */
export const writeCases = (cases: ReadonlyMap<Row, string>): void => {
  const byPlace = new Map([...cases].map(([row, name]) => [`${row.section.file}\n${titleOf(row.section)}\n${row.field}`, name]));
  for (const file of readdirSync(FOLDER)) {
    let title = '';
    const lines = readFileSync(join(FOLDER, file), 'utf8')
      .split('\n')
      .map((line) => {
        if (!line.startsWith('  ')) title = line === '' ? title : line;
        const [field = '', kind = ''] = line.trim().split(' ');
        const name = kind === 'honoured' ? byPlace.get(`${file}\n${title}\n${field}`) : undefined;
        return name === undefined ? line : `  ${field} honoured ${name}`;
      });
    const text = lines.join('\n');
    if (text !== readFileSync(join(FOLDER, file), 'utf8')) writeFileSync(join(FOLDER, file), text);
  }
};

export const titleOf = (section: Section): string =>
  section.places.length === 0 ? section.message : `${section.message} in ${section.places.join(' ')}`;

/** How a message is come to: the resource or extension, then the fields. */
export interface Reached {
  readonly message: string;
  readonly place: string;
  readonly root: string;
  readonly fields: readonly Field[];
}

/** Every message with fields in every place where it can be, over honoured fields, the nearest way first. */
export const reachable = (table: SupportTable): Reached[] => {
  const queue: Reached[] = roots().map((message) => ({ message, place: '', root: message, fields: [] }));
  const seen = new Set(queue.map((at) => at.message));
  const out: Reached[] = [];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    const known = descriptor(at.message);
    if (known === undefined) throw new Error(`${at.message} is not compiled in`);
    if (known.fields.length > 0) out.push(at);
    for (const field of messageFields(known)) {
      if (table.row(at.message, at.place, field.name)?.class !== 'honoured') continue;
      const place = `${at.message}.${field.name}`;
      const key = `${field.type} in ${place}`;
      if (seen.has(key)) continue;
      seen.add(key);
      queue.push({ message: field.type, place, root: at.root, fields: [...at.fields, field] });
    }
  }
  return out;
};

const messageFields = (known: Descriptor): readonly Field[] =>
  known.fields.filter((f) => f.kind === 'message' && !f.type.startsWith('google.protobuf.'));

/** Rows that are missing, and rows and sections of what is not there. */
export const tableProblems = (table: SupportTable): string[] => {
  const problems = [...table.problems];
  const used = new Set<Section>();
  for (const at of reachable(table)) {
    const section = table.sectionOf(at.message, at.place);
    if (section === undefined) {
      problems.push(`${at.message}${at.place === '' ? '' : ` in ${at.place}`}: no section`);
      continue;
    }
    used.add(section);
    for (const field of descriptor(at.message)?.fields ?? [])
      if (!section.rows.has(field.name)) problems.push(`${section.file}: ${at.message}: no row for ${field.name}`);
  }
  for (const section of table.sections) {
    if (!used.has(section)) problems.push(`${section.file}: ${titleOf(section)}: cannot be reached`);
    const known = descriptor(section.message);
    for (const field of section.rows.keys())
      if (known?.byName.get(field)?.name !== field) problems.push(`${section.file}: ${section.message} has no field ${field}`);
  }
  return [...new Set(problems)];
};
