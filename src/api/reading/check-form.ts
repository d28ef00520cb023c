// What Kubernetes refuses of an Istio resource that Istio itself would read from a file: numbers for enums, numbers in quotes, durations
// below a millisecond, and the rules of the CRD (crd-rules.ts). Said of a place only where nothing worse is said already.

import type { Findings } from '../findings.ts';
import { crdRules } from '../rules/crd-rules.ts';
import type { AnyMessage, Schema } from '../schema/schema.ts';
import { parseDuration } from '../values/duration-text.ts';
import type { DocumentNode, MapNode } from './document-node.ts';
import { child, item } from './field-path.ts';
import { fieldName } from './read-value.ts';

export const checkForm = (schema: AnyMessage, node: MapNode, path: string, findings: Findings): void =>
  walkMessage(schema, node, path, findings, '');

/** The only fields whose CRD knows a second spelling. */
const SPELT_TWICE: ReadonlySet<string> = new Set(['jwks_uri', 'mirror_percent']);

/** `place`: the field that holds the value, `Message.field`. */
const walk = (schema: Schema, node: DocumentNode, path: string, findings: Findings, place: string): void => {
  switch (schema.kind) {
    case 'message':
      if (node.kind === 'map') walkMessage(schema, node, path, findings, place);
      return;
    case 'list':
      if (node.kind === 'list')
        for (const [index, entry] of node.items.entries()) walk(schema.of, entry, item(path, index), findings, place);
      return;
    case 'map':
      if (node.kind !== 'map') return;
      for (const [key, entry] of node.entries) {
        if (isNull(entry.node)) warnNull(child(path, key), findings, 'Kubernetes takes no null here', 'write {}');
        else walk(schema.of, entry.node, child(path, key), findings, place);
      }
      return;
    case 'enum':
      if (node.kind === 'scalar' && typeof node.value === 'number') {
        const named = schema.values[schema.numbers ? schema.numbers.indexOf(node.value) : node.value];
        refuse(path, findings, 'Kubernetes takes the name of a value, not its number', named === undefined ? undefined : `write ${named}`);
      }
      return;
    case 'int32':
    case 'uint32':
    case 'int64':
    case 'uint64':
    case 'double':
      if (node.kind === 'scalar' && typeof node.value === 'string')
        refuse(path, findings, 'Kubernetes takes a number here, not text', 'write it without quotes');
      return;
    default:
  }
};

const walkMessage = (schema: AnyMessage, node: MapNode, path: string, findings: Findings, place: string): void => {
  for (const [key, entry] of node.entries) {
    const name = fieldName(schema, key);
    const field = name === undefined ? undefined : schema.fields[name];
    if (name === undefined || field === undefined) continue;
    const at = child(path, name);
    if (name !== key && !SPELT_TWICE.has(key))
      findings.add(
        'warning',
        'FIELD_FORM',
        child(path, key),
        `Kubernetes does not know the spelling ${JSON.stringify(key)}`,
        `write "${name}"`,
      );
    if (isNull(entry.node)) {
      warnNull(at, findings, ABSENT, 'leave the key out');
      continue;
    }
    if (field.kind === 'duration' && schema.limits[name]?.anyDuration !== true) checkDuration(entry.node, at, findings);
    walk(field, entry.node, at, findings, `${schema.name}.${name}`);
  }
  for (const { paths, message } of crdRules(schema.name, place, node, (key) => fieldName(schema, key))) {
    const places = paths.map((p) => (p === '' ? path : child(path, p)));
    const said = findings.list.some((f) => f.severity === 'error' && (f.path === path || places.some((p) => f.path.startsWith(p))));
    if (!said) findings.add('error', 'SCHEMA_RULE', places.at(-1) ?? path, message);
  }
};

const checkDuration = (node: DocumentNode, path: string, findings: Findings): void => {
  const value = node.kind === 'scalar' && typeof node.value === 'string' ? parseDuration(node.value) : undefined;
  if (value === undefined || value >= 1_000_000n || isRefused(path, findings)) return;
  findings.add('error', 'FIELD_LIMIT', path, 'must be a valid duration greater than 1ms');
};

const refuse = (path: string, findings: Findings, message: string, hint: string | undefined): void => {
  if (!isRefused(path, findings)) findings.add('error', 'FIELD_FORM', path, message, hint);
};

const isRefused = (path: string, findings: Findings): boolean => findings.list.some((f) => f.severity === 'error' && f.path === path);

const ABSENT = 'nothing is written here, which reads as if the key were absent';

const warnNull = (path: string, findings: Findings, message: string, hint: string): void => {
  if (!isRefused(path, findings)) findings.add('warning', 'FIELD_FORM', path, message, hint);
};

const isNull = (node: DocumentNode): boolean => node.kind === 'scalar' && node.value === null;
