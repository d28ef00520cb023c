// Text of YAML or JSON documents into checked resources and located problems. Pure; never reads a file. Documents stand alone: a
// problem in one keeps only that one from becoming a resource; whether to take the rest is the caller's decision.

import { findKind } from './find-kind.ts';
import { type Finding, Findings } from './findings.ts';
import type { KindEntry } from './kinds.ts';
import { readMetadata } from './metadata.ts';
import type { Problem } from './problem.ts';
import { type DocumentNode, type MapNode, offsetAt } from './reading/document-node.ts';
import { isHealthyEntry } from './reading/entry-health.ts';
import { child, item } from './reading/field-path.ts';
import { nearest } from './reading/key-case.ts';
import { balancersOf } from './reading/load-balancers.ts';
import { textEntry } from './reading/read-value.ts';
import { type Position, readYaml, type YamlDocument, type YamlText } from './reading/yaml-documents.ts';
import { type Kind, type Origin, type Resource, resourceKey, type Specs } from './resource.ts';
import { checkSupport } from './support/check-support.ts';
import { checkProxyRefusals } from './support/proxy-refusals.ts';
import { referenceHint } from './support/reference-hint.ts';

export interface ParseOptions {
  /** For objects of namespaced kinds that name none; `default` when absent. */
  readonly defaultNamespace?: string;
}

export interface ParsedDocuments {
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
}

export const parseDocuments = (file: string, text: string, options: ParseOptions = {}): ParsedDocuments => {
  const yaml = readYaml(file, text);
  const reader = new Reader(file, text, (offset) => yaml.position(offset), options.defaultNamespace ?? 'default');
  for (const document of yaml.documents) reader.document(document);
  const problems = reader.problems.sort((a, b) => a.line - b.line || a.column - b.column);
  return { resources: reader.resources, problems };
};

/** Where an object stands: its document, and the path to it inside a List. */
interface Place {
  readonly document: YamlDocument;
  readonly root: DocumentNode;
  readonly prefix: string;
}

class Reader {
  readonly resources: Resource[] = [];
  readonly problems: Problem[] = [];
  readonly #seen = new Map<string, number>();
  readonly #file: string;
  readonly #text: string;
  readonly #position: (offset: number) => Position;
  readonly #namespace: string;

  constructor(file: string, text: string, position: (offset: number) => Position, namespace: string) {
    this.#file = file;
    this.#text = text;
    this.#position = position;
    this.#namespace = namespace;
  }

  document(document: YamlDocument): void {
    this.problems.push(...document.problems);
    if (document.root) this.#object(document.root, { document, root: document.root, prefix: '' });
  }

  #object(node: DocumentNode, place: Place): void {
    const findings = new Findings();
    if (node.kind !== 'map') {
      const hint = 'a resource begins with apiVersion, kind and metadata; the file may be only half written';
      findings.add('error', 'NOT_AN_OBJECT', '', 'a document must be a mapping', hint);
    } else if (isList(node)) {
      this.#list(node, place, findings);
    } else this.#resource(node, place, findings);
    this.#tell(findings.list, place);
  }

  #list(node: MapNode, place: Place, findings: Findings): void {
    const items = node.entries.get('items')?.node;
    if (!items || (items.kind === 'scalar' && items.value === null)) return;
    if (items.kind !== 'list') {
      findings.add('error', 'FIELD_TYPE', 'items', 'must be a list', 'each item is a whole object, with apiVersion, kind and metadata');
      return;
    }
    for (const [index, entry] of items.items.entries()) {
      this.#object(entry, { ...place, prefix: item(child(place.prefix, 'items'), index) });
    }
  }

  #resource(node: MapNode, place: Place, findings: Findings): void {
    const apiVersion = textEntry(node, 'apiVersion');
    const kind = textEntry(node, 'kind');
    if (apiVersion === undefined || kind === undefined) {
      const missing = [...(apiVersion === undefined ? ['apiVersion'] : []), ...(kind === undefined ? ['kind'] : [])];
      const what = `${missing.join(' and ')} ${missing.length === 1 ? 'is missing or not text' : 'are missing or not text'}`;
      findings.add('error', 'NOT_AN_OBJECT', '', what, 'the file may be only half written');
      return;
    }
    const found = findKind(apiVersion, kind);
    if (found.kind === 'refused') {
      findings.add('error', found.code, found.path, found.message, found.hint);
      return;
    }
    const { entry } = found;
    const meta = readMetadata(node, entry.namespaced, this.#namespace, findings);
    checkTopLevel(node, entry, findings);
    const body = bodyOf(node, entry, findings);
    if (!body) return;
    const path = entry.body === 'spec' ? 'spec' : '';
    const spec = entry.read(body, path, findings, meta);
    checkSupport(entry.kind, spec, path, findings);
    if (!findings.failed) checkProxyRefusals(entry.kind, spec as Specs[Kind], path, findings);
    findings.hintWhereMissing((at) => referenceHint(entry.kind, entry.schema, at));
    const resource: Resource = {
      kind: entry.kind,
      apiVersion,
      ...meta,
      spec: spec as Specs[Kind],
      origin: this.#origin(node, place),
      ...statusOf(entry.kind, node, meta.annotations),
    };
    this.#checkTwin(resource, findings);
    if (!findings.failed) this.resources.push(resource);
  }

  #checkTwin(resource: Resource, findings: Findings): void {
    if (resource.name === '') return;
    const key = resourceKey(resource);
    const line = this.#seen.get(key);
    if (line === undefined) this.#seen.set(key, resource.origin.line);
    else
      findings.add(
        'error',
        'DUPLICATE_OBJECT',
        'metadata.name',
        `${resource.kind} ${resource.namespace}/${resource.name} is written twice`,
        `first in line ${line}`,
      );
  }

  #tell(findings: readonly Finding[], place: Place): void {
    for (const { code, severity, path, message, hint } of findings) {
      const inDocument = joinPath(place.prefix, path);
      const position = this.#position(offsetAt(place.root, inDocument));
      this.problems.push({
        code,
        severity,
        file: this.#file,
        ...position,
        path: inDocument,
        message,
        ...(hint === undefined ? {} : { hint }),
      });
    }
  }

  /** Keeps the document's text; its tree only while many positions are asked for at once. What was found once is kept. */
  #origin(node: MapNode, place: Place): Origin {
    const { start, end } = place.document;
    const file = this.#file;
    const text = this.#text;
    const first = this.#position(start);
    const known = new Map<string, Position>();
    let tree: WeakRef<YamlText> | undefined;
    const locate = (path: string): Position => {
      const again = tree?.deref() ?? readYaml(file, text.slice(start, end));
      tree = new WeakRef(again);
      const root = again.documents.find((d) => d.root)?.root;
      const found = again.position(root ? offsetAt(root, joinPath(place.prefix, path)) : 0);
      return { line: first.line + found.line - 1, column: found.line === 1 ? first.column + found.column - 1 : found.column };
    };
    const at = (path: string): Position => {
      const position = known.get(path) ?? locate(path);
      known.set(path, position);
      return position;
    };
    return { file, line: this.#position(node.offset).line, at };
  }
}

/** What the status of an object says that the mesh goes by. */
const statusOf = (kind: Kind, node: MapNode, annotations: Resource['annotations']): Pick<Resource, 'ready' | 'balancers'> => {
  if (kind === 'WorkloadEntry') return isHealthyEntry(node, annotations) ? {} : { ready: false };
  const balancers = kind === 'Service' ? balancersOf(node) : [];
  return balancers.length > 0 ? { balancers } : {};
};

const joinPath = (prefix: string, path: string): string => (prefix === '' || path === '' ? `${prefix}${path}` : `${prefix}.${path}`);

/** `kind: List` of kubectl, and lists of one kind as the API server gives them. */
const isList = (node: MapNode): boolean =>
  (textEntry(node, 'kind') ?? '').endsWith('List') && (node.entries.has('items') || isPlainList(node));

/** Of kubectl's own kind, which may have no items. */
const isPlainList = (node: MapNode): boolean => textEntry(node, 'kind') === 'List' && textEntry(node, 'apiVersion') === 'v1';

const checkTopLevel = (node: MapNode, entry: KindEntry, findings: Findings): void => {
  const own = entry.body === 'root' ? Object.keys(entry.schema.fields) : ['spec'];
  const names = ['apiVersion', 'kind', 'metadata', 'status', ...own];
  for (const key of node.entries.keys()) {
    if (names.includes(key)) continue;
    const meant = nearest(key, names);
    const inSpec = entry.body === 'spec' && Object.hasOwn(entry.schema.fields, key);
    const hint = inSpec ? `"${key}" belongs below "spec"` : meant === undefined ? undefined : `did you mean "${meant}"?`;
    findings.add('error', 'FIELD_UNKNOWN', child('', key), `unknown field ${JSON.stringify(key)}`, hint);
  }
};

/** The mapping that the kind's schema describes; an absent spec is an empty one. */
const bodyOf = (node: MapNode, entry: KindEntry, findings: Findings): MapNode | undefined => {
  if (entry.body === 'root') {
    const entries = new Map([...node.entries].filter(([key]) => Object.hasOwn(entry.schema.fields, key)));
    return { kind: 'map', entries, offset: node.offset };
  }
  const spec = node.entries.get('spec');
  if (!spec || (spec.node.kind === 'scalar' && spec.node.value === null))
    return { kind: 'map', entries: new Map(), offset: spec?.keyOffset ?? node.offset };
  if (spec.node.kind === 'map') return spec.node;
  findings.add('error', 'FIELD_TYPE', 'spec', 'must be a mapping', 'the file may be only half written');
  return undefined;
};
