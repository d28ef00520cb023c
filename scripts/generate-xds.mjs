// Compiles Envoy's .proto files into src/xds/gen/: a field table for the codec (src/xds/codec.ts)
// and TypeScript types in proto3-JSON shape with proto field names. A second table has the messages that only the
// control plane needs: every other one of Envoy's configuration, for EnvoyFilter. A third says which fields a sidecar
// refuses, from src/xds/support/. Runs in `prepare`, needs only
// Node >= 18 and the dev dependencies; its output is never committed.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'src/xds/gen');
const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps');
if (!existsSync(deps)) {
  if (existsSync(join(out, 'table.ts'))) process.exit(0); // an installed package: ships the output
  console.error('generate-xds: @grpc/grpc-js-xds is missing: run `npm ci` with dev dependencies');
  process.exit(1);
}
const roots = readFileSync(join(root, 'src/xds/proto/roots.txt'), 'utf8')
  .split('\n')
  .map((l) => l.trim())
  .filter((l) => l && !l.startsWith('#'));
const includes = [join(root, 'src/xds/proto'), ...['envoy-api', 'googleapis', 'protoc-gen-validate', 'xds'].map((d) => join(deps, d))];

const tree = new protobuf.Root();
tree.resolvePath = (_origin, target) => {
  // Options only (validate, annotations, versioning): no message of ours needs them.
  if (
    /^(validate\/|google\/api\/(?!expr)|envoy\/annotations\/|udpa\/annotations\/|xds\/annotations\/|opencensus\/|prometheus\/|google\/protobuf\/descriptor)/.test(
      target,
    )
  )
    return null;
  for (const dir of includes) {
    const path = join(dir, target);
    if (existsSync(path)) return path;
  }
  if (/^google\/protobuf\//.test(target)) return target; // bundled in protobufjs
  throw new Error(`generate-xds: no file for import ${target}`);
};
tree.loadSync(roots, { keepCase: true });
// Fields newer than the packaged .proto tree, as of Envoy 1.40.
const refused = new Set();
const addNewerFields = (file) => {
  for (const line of readFileSync(join(root, 'src/xds/proto', file), 'utf8').split('\n')) {
    const [message, number, name, type, ...marks] = line.trim().split(/\s+/);
    if (message === undefined || message === '' || message.startsWith('#')) continue;
    if (type === 'value') {
      if (tree.lookup(message) === null) {
        const at = message.lastIndexOf('.');
        tree.define(message.slice(0, at)).add(new protobuf.Enum(message.slice(at + 1)));
      }
      tree.lookupEnum(message).add(name, Number(number));
      continue;
    }
    if (tree.lookup(message) === null) {
      const at = message.lastIndexOf('.');
      tree.define(message.slice(0, at)).add(new protobuf.Type(message.slice(at + 1)));
    }
    const owner = tree.lookupType(message);
    // A field whose type was changed since.
    if (owner.fields[name] !== undefined) owner.remove(owner.fields[name]);
    owner.add(new protobuf.Field(name, Number(number), type, marks.includes('repeated') ? 'repeated' : undefined));
    if (marks.includes('refused')) refused.add(`${message}.${name}`);
  }
};
addNewerFields('newer-fields.txt');

const WELL_KNOWN = {
  'google.protobuf.Any': 'AnyMessage',
  'google.protobuf.Duration': 'string',
  'google.protobuf.Timestamp': 'string',
  'google.protobuf.Struct': 'JsonObject',
  'google.protobuf.Value': 'JsonValue',
  'google.protobuf.ListValue': 'readonly JsonValue[]',
  'google.protobuf.DoubleValue': 'number',
  'google.protobuf.FloatValue': 'number',
  'google.protobuf.Int64Value': 'number',
  'google.protobuf.UInt64Value': 'number',
  'google.protobuf.Int32Value': 'number',
  'google.protobuf.UInt32Value': 'number',
  'google.protobuf.BoolValue': 'boolean',
  'google.protobuf.StringValue': 'string',
  'google.protobuf.BytesValue': 'Uint8Array',
};
const SCALAR = {
  double: 'number',
  float: 'number',
  int32: 'number',
  uint32: 'number',
  sint32: 'number',
  fixed32: 'number',
  sfixed32: 'number',
  int64: 'number',
  uint64: 'number',
  sint64: 'number',
  fixed64: 'number',
  sfixed64: 'number',
  bool: 'boolean',
  string: 'string',
  bytes: 'Uint8Array',
};

const messages = [];
const enums = [];
const walk = (ns, pkg, path, messages, enums) => {
  for (const nested of ns.nestedArray ?? []) {
    if (nested instanceof protobuf.Type) {
      messages.push({ type: nested, name: nested.fullName.slice(1), pkg, path: [...path, nested.name] });
      walk(nested, pkg, [...path, nested.name], messages, enums);
    } else if (nested instanceof protobuf.Enum) {
      enums.push({ type: nested, name: nested.fullName.slice(1), pkg, path: [...path, nested.name] });
    } else if (nested instanceof protobuf.Namespace) {
      walk(nested, [...pkg, nested.name], [], messages, enums);
    }
  }
};
walk(tree, [], [], messages, enums);

// Short TypeScript names; a name used by several packages is prefixed in all of them, but in those that everybody means by it.
const KEEPS_ITS_NAME = new Set(
  ['core.v3.Metadata', 'core.v3.HealthCheck', 'common.mutation_rules.v3.HeaderMutation'].map((name) => `envoy.config.${name}`),
);
const keepsItsName = (name) => [...KEEPS_ITS_NAME].some((owner) => name === owner || name.startsWith(`${owner}.`));
const count = new Map();
for (const m of [...messages, ...enums]) count.set(m.path.join('_'), (count.get(m.path.join('_')) ?? 0) + 1);
const pascal = (s) =>
  s
    .split('_')
    .map((p) => p[0].toUpperCase() + p.slice(1))
    .join('');
const tsName = new Map();
for (const m of [...messages, ...enums]) {
  const short = m.path.join('_');
  const prefix = m.pkg
    .filter((p) => !['envoy', 'extensions', 'config', 'type', 'filters'].includes(p) && !/^v\d/.test(p))
    .map(pascal)
    .join('');
  tsName.set(
    m.name,
    count.get(short) > 1 && !keepsItsName(m.name) ? `${prefix}${m.pkg.at(-1) === 'v3' ? '' : pascal(m.pkg.at(-1) ?? '')}_${short}` : short,
  );
}

const table = { messages: {}, enums: {} };
const ts = [
  "// Generated by scripts/generate-xds.mjs from Envoy's .proto files. Do not edit.",
  '',
  'export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;',
  'export interface JsonObject { readonly [key: string]: JsonValue }',
  '/** google.protobuf.Any: expanded when its type is known, raw (`type_url`, `value`) when not. */',
  'export type AnyMessage = { readonly "@type": string; readonly [field: string]: unknown } | { readonly type_url: string; readonly value: Uint8Array };',
  '',
];
for (const e of enums) {
  table.enums[e.name] = e.type.values;
  ts.push(
    `export type ${tsName.get(e.name)} = ${Object.keys(e.type.values)
      .map((v) => `'${v}'`)
      .join(' | ')} | number;`,
  );
}
const tsType = (type, resolved) => {
  if (SCALAR[type]) return SCALAR[type];
  const full = resolved.fullName.slice(1);
  return WELL_KNOWN[full] ?? tsName.get(full);
};
/** The message's row of the table, and its lines of TypeScript. */
const describe = (m, tsType) => {
  const oneofs = m.type.oneofsArray.filter((o) => !o.isProto3Optional && !(o.fieldsArray.length === 1 && o.name.startsWith('_')));
  const rows = [];
  const lines = [];
  for (const f of [...m.type.fieldsArray].sort((a, b) => a.id - b.id)) {
    f.resolve();
    const scalar = SCALAR[f.type] !== undefined;
    const ref = scalar ? f.type : f.resolvedType.fullName.slice(1);
    const flags =
      (f.repeated ? 'r' : '') +
      (f.map ? 'm' : '') +
      (f.options?.deprecated ? 'd' : '') +
      (f.options?.proto3_optional ? 'o' : '') +
      (refused.has(`${m.name}.${f.name}`) ? 'x' : '');
    const oneof = f.partOf && oneofs.includes(f.partOf) ? oneofs.indexOf(f.partOf) : -1;
    // protobufjs carries google.protobuf.Value with lowerCamel names.
    const name = m.name.startsWith('google.protobuf.') ? f.name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`) : f.name;
    const row = [f.id, name, ref, flags];
    if (f.map) row.push(f.keyType);
    else if (oneof >= 0) row.push(oneof);
    rows.push(row);
    const base = tsType(f.type, f.resolvedType);
    const shape = f.map
      ? `{ readonly [key: string]: ${base} }`
      : f.repeated
        ? `readonly ${/[ |]/.test(base) ? `(${base})` : base}[]`
        : base;
    const key = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(f.name) ? f.name : `'${f.name}'`;
    lines.push(`  readonly ${key}?: ${shape} | undefined;`);
  }
  return { row: [rows, oneofs.map((o) => o.name)], lines };
};
for (const m of messages) {
  const { row, lines } = describe(m, tsType);
  table.messages[m.name] = row;
  if (!WELL_KNOWN[m.name]) ts.push(`/** ${m.name} */`, `export interface ${tsName.get(m.name)} {`, ...lines, '}');
}
ts.push('', '/** Every message type by its full proto name. */', 'export interface MessageTypes {');
for (const m of messages) if (!WELL_KNOWN[m.name]) ts.push(`  '${m.name}': ${tsName.get(m.name)};`);
ts.push('}', '');

mkdirSync(out, { recursive: true });
const save = (name, text) => {
  const path = join(out, name);
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
};
// Texts, parsed one by one when they are needed: a sidecar uses a fifth of them.
const quoted = (text) => `'${text.replace(/[\\']/g, '\\$&')}'`;
const tableText = (name, entries) =>
  [
    '// Generated by scripts/generate-xds.mjs. Do not edit.',
    "import type { FieldTable } from '../table.ts';",
    `export const ${name}: FieldTable = {`,
    ...Object.entries(entries).flatMap(([kind, rows]) => [
      `${kind}: {`,
      ...Object.entries(rows).map(([key, row]) => `'${key}': ${quoted(JSON.stringify(row))},`),
      '},',
    ]),
    '};',
    '',
  ].join('\n');
save('table.ts', tableText('TABLE', table));
save('types.ts', ts.join('\n'));

// What a sidecar does with every field stands in src/xds/support/: test/fields/support-table.ts tells its form. A running one needs of
// it the fields that it refuses, and the messages it looks no further into.
const section = (text) => {
  const [message, , ...places] = text.split(' ');
  return places.length === 0 ? [message] : places.map((place) => `${message} in ${place}`);
};
const support = { refused: {}, inert: {} };
let sections = [];
for (const file of readdirSync(join(root, 'src/xds/support')).sort()) {
  for (const line of readFileSync(join(root, 'src/xds/support', file), 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (!line.startsWith('  ')) {
      sections = section(line);
      continue;
    }
    const [field, kind, ...words] = line.trim().split(' ');
    const table =
      kind === 'refused' && !['code', 'decoder'].includes(words[0]) ? support.refused : kind === 'inert' ? support.inert : undefined;
    if (table === undefined) continue;
    for (const name of sections) {
      table[name] ??= {};
      table[name][field] = words.join(' ');
    }
  }
}
save(
  'support.ts',
  [
    '// Generated by scripts/generate-xds.mjs. Do not edit.',
    'type Fields = { readonly [message: string]: { readonly [field: string]: string } };',
    `export const REFUSED: Fields = ${JSON.stringify(support.refused)};`,
    `export const INERT: Fields = ${JSON.stringify(support.inert)};`,
    '',
  ].join('\n'),
);

// The rest of Envoy's configuration, without what nothing here can import.
const protoFiles = (folder) =>
  readdirSync(join(deps, 'envoy-api', folder), { withFileTypes: true }).flatMap((e) => {
    const path = `${folder}/${e.name}`;
    if (e.isDirectory()) return protoFiles(path);
    return path.endsWith('.proto') && /\/v3$/.test(folder) ? [path] : [];
  });
const ABSENT = /\/(opencensus|trace)\.proto$/;
tree.loadSync(
  ['envoy/config', 'envoy/extensions'].flatMap(protoFiles).filter((f) => !ABSENT.test(f)),
  { keepCase: true },
);
addNewerFields('newer-fields-control.txt');
const rest = { messages: {}, enums: {} };
const restMessages = [];
const restEnums = [];
walk(tree, [], [], restMessages, restEnums);
for (const e of restEnums) if (table.enums[e.name] === undefined) rest.enums[e.name] = e.type.values;
for (const m of restMessages) if (table.messages[m.name] === undefined) rest.messages[m.name] = describe(m, () => 'unknown').row;
save('control-table.ts', tableText('CONTROL_TABLE', rest));
