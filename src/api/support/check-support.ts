// Compares a read spec with the table of supported fields. Fields of the schema outside the table are refused by name.

import type { Findings } from '../findings.ts';
import { child, item } from '../reading/field-path.ts';
import type { Kind } from '../resource.ts';
import { type KindSupport, support, type ValueNote } from './support.ts';
import { expandBraces } from './support-path.ts';

export const checkSupport = (kind: Kind, spec: unknown, path: string, findings: Findings): void => {
  const entry = support[kind];
  if (entry.never !== undefined) {
    const hint = 'it is refused rather than accepted without effect';
    findings.add('error', 'NOT_YET_ENFORCED', 'kind', `${kind} is not enforced: no ${entry.never} runs here`, hint);
    return;
  }
  walk(spec, compiled(entry), path, { name: kind, findings, entry, trail: '', strict: true });
};

/** Fields outside the table are accepted with a warning: they have no effect yet and nothing unsafe follows from that. */
export const warnUnsupported = (name: string, entry: KindSupport, value: unknown, findings: Findings): void =>
  walk(value, compiled(entry), '', { name, findings, entry, trail: '', strict: false });

interface Trie {
  all: boolean;
  readonly next: Map<string, Trie>;
}

interface Place {
  readonly name: string;
  readonly findings: Findings;
  readonly entry: KindSupport;
  /** The path without indices, as the table writes it. */
  readonly trail: string;
  readonly strict: boolean;
}

const walk = (value: unknown, trie: Trie, path: string, place: Place): void => {
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) walk(entry, trie, item(path, index), place);
    return;
  }
  noteValue(value, path, place);
  if (trie.all && !hasNotesBelow(place)) return;
  if (typeof value !== 'object' || value === null) return;
  for (const [name, field] of Object.entries(value)) {
    const next = trie.all ? trie : trie.next.get(name);
    const inner: Place = { ...place, trail: place.trail === '' ? name : `${place.trail}.${name}` };
    if (next) walk(field, next, child(path, name), inner);
    else refuse(name, child(path, name), inner);
  }
};

const hasNotesBelow = (place: Place): boolean =>
  [...(place.entry.refused ?? []), ...(place.entry.warned ?? [])].some((n) =>
    n.path.startsWith(place.trail === '' ? '' : `${place.trail}.`),
  );

const refuse = (name: string, path: string, place: Place): void => {
  if (!place.strict) {
    const instead = place.entry.warned?.find((n) => n.path === place.trail && n.values === undefined)?.message;
    const message = `field "${name}" of ${place.name} has no effect${instead === undefined ? ' yet' : `: ${instead}`}`;
    place.findings.add('warning', 'FIELD_NOT_YET_EFFECTIVE', path, message);
    return;
  }
  if (place.findings.failedAt(path)) return;
  const words = place.entry.refused?.find((n) => n.path === place.trail && n.values === undefined)?.message;
  const message = words ?? `field "${name}" of ${place.name} is not yet supported`;
  place.findings.add('error', 'FIELD_NOT_SUPPORTED', path, message, 'a valid field that this version does not implement');
};

const noteValue = (value: unknown, path: string, place: Place): void => {
  const about = (note: ValueNote): boolean =>
    note.path === place.trail && (note.values === undefined || note.values.some((v) => same(v, value)));
  const refused = place.entry.refused?.find(about);
  if (refused && !place.findings.failedAt(path)) place.findings.add('error', 'FIELD_NOT_SUPPORTED', path, refused.message);
  const warned = place.entry.warned?.find(about);
  if (warned)
    place.findings.add(
      'warning',
      'FIELD_NOT_YET_EFFECTIVE',
      path,
      typeof value === 'object' ? warned.message : `${String(value)}: ${warned.message}`,
    );
};

/** Protocol names are written in any case. */
const same = (noted: string | number | boolean, value: unknown): boolean =>
  noted === value || (typeof noted === 'string' && typeof value === 'string' && noted === value.toUpperCase());

const tries = new WeakMap<KindSupport, Trie>();

/** Pure table, built once. */
const compiled = (entry: KindSupport): Trie => {
  const known = tries.get(entry);
  if (known) return known;
  const root: Trie = { all: false, next: new Map() };
  for (const pattern of entry.supported.flatMap(expandBraces)) {
    let node = root;
    for (const step of pattern.split('.')) {
      if (step === '**') {
        node.all = true;
        break;
      }
      let next = node.next.get(step);
      if (!next) {
        next = { all: false, next: new Map() };
        node.next.set(step, next);
      }
      node = next;
    }
  }
  tries.set(entry, root);
  return root;
};
