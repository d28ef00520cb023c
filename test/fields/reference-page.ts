// docs/reference/xds.md: the tables of src/xds/support/ for people. Made by `npm run test:fields -- --write`, held by reference.test.ts.
import { join } from 'node:path';
import { descriptor, type Field } from '../../src/xds/descriptor.ts';
import { type Class, type Row, type Section, type SupportTable, titleOf } from './support-table.ts';

export const PAGE = join(import.meta.dirname, '../../docs/reference/xds.md');

const SUBJECTS: readonly (readonly [file: string, title: string])[] = [
  ['bootstrap', 'Bootstrap'],
  ['listener', 'Listeners'],
  ['network', 'Network filters and transports'],
  ['http-connection-manager', 'HTTP connection manager'],
  ['http-filters', 'HTTP filters'],
  ['authorization', 'Authorization'],
  ['rate-limit', 'Rate limits'],
  ['route', 'Routes'],
  ['cluster', 'Clusters'],
  ['endpoint', 'Endpoints'],
  ['protocol-options', 'Protocol options'],
  ['tls', 'TLS and secrets'],
  ['access-log', 'Access logs'],
  ['matchers', 'Matchers'],
  ['istio', "Istio's extensions"],
  ['core', 'Parts that many have'],
];

export const referencePage = (table: SupportTable): string => {
  const count = (wanted: Class): number => table.rows().filter((row) => row.class === wanted).length;
  const lines = [
    '# Envoy fields in a sidecar',
    '',
    'Every field of every message that a Skein sidecar can be sent over xDS or read in its bootstrap, and what becomes of it.',
    'Made from `src/xds/support/` by `npm run test:fields -- --write`; `npm run test:fields` proves it.',
    '',
    `- **honoured** (${count('honoured')}): it does what Envoy does. The case behind it fails when the field is blanked.`,
    `- **inert** (${count('inert')}): accepted, and nothing that you see depends on it, for the reason given.`,
    `- **refused** (${count('refused')}): the resource is refused (NACK) with the path of the field.`,
    '',
    'A field that this table does not know is accepted and counted, as in Envoy; `--reject-unknown-dynamic-fields` refuses it.',
    'Below a field that is inert or refused nothing is listed. A message without fields is as its field says.',
  ];
  const known = new Map(SUBJECTS);
  const files = [...new Set(table.sections.map((s) => s.file.replace(/\.txt$/, '')))];
  for (const file of [...known.keys(), ...files.filter((f) => !known.has(f)).sort()]) {
    const sections = table.sections.filter((s) => s.file === `${file}.txt`);
    if (sections.length === 0) continue;
    lines.push('', `## ${known.get(file) ?? file}`);
    for (const section of sections) lines.push('', ...sectionLines(section));
  }
  return `${lines.join('\n')}\n`;
};

const sectionLines = (section: Section): string[] => {
  const rows = [...section.rows.values()].map((row) => [`\`${row.field}\``, typeOf(section, row), row.class, wordsOf(row)]);
  return [
    `### ${section.places.length === 0 ? section.message : `${section.message}, of ${section.places.map(shortPlace).join(', ')}`}`,
    '',
    ...aligned([['field', 'type', 'class', 'case or reason'], ...rows]),
  ];
};

const shortPlace = (place: string): string => place.split('.').slice(-2).join('.');

const wordsOf = (row: Row): string => {
  if (row.class === 'honoured') return row.words === '-' ? 'no case yet' : row.words;
  if (row.class === 'inert') return row.words;
  return row.words === 'code' || row.words === 'decoder' ? '' : row.words;
};

const typeOf = (section: Section, row: Row): string => {
  const field = descriptor(section.message)?.fields.find((f) => f.name === row.field);
  if (field === undefined) throw new Error(`${titleOf(section)} has no field ${row.field}`);
  const type = field.kind === 'scalar' ? field.type : field.type.replace(/^google\.protobuf\./, '').replace(/^.*\.(?=[A-Z][^.]*$)/, '');
  return `${field.mapKey !== undefined ? 'map of ' : field.repeated ? 'list of ' : ''}${type}${deprecated(field)}`;
};
const deprecated = (field: Field): string => (field.deprecated ? ', deprecated' : '');

const aligned = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)];
};
