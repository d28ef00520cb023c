// One configuration file in the format of envoyproxy/ratelimit: a domain and its tree of descriptors. Every problem is told with the
// file, line and column it stands at; nothing unknown is passed over.
import { isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments, type YAMLMap } from 'yaml';
import { type Limit, unitOf } from './limit.ts';
import { type LimitNode, nodeName } from './limit-tree.ts';

export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}
export interface DomainConfig {
  readonly domain: string;
  readonly file: string;
  readonly line: number;
  readonly root: LimitNode;
}

const DEPTH_MAX = 32;
const REQUESTS_MAX = 0xffffffff;

export const problemText = ({ file, line, column, message }: ConfigProblem): string => `${file}:${line}:${column}: ${message}`;

export const parseConfig = (
  file: string,
  text: string,
): { readonly domains: readonly DomainConfig[]; readonly problems: readonly ConfigProblem[] } => {
  const lines = new LineCounter();
  const reader = new Reader(file, lines);
  const domains: DomainConfig[] = [];
  for (const document of parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true })) {
    for (const error of document.errors) reader.say(error.pos[0], error.message.split('\n')[0] ?? 'not YAML');
    if (document.errors.length > 0 || document.contents === null) continue;
    const domain = reader.domain(document.contents);
    if (domain !== undefined) domains.push(domain);
  }
  return { domains, problems: reader.problems };
};

class Reader {
  readonly problems: ConfigProblem[] = [];
  readonly #file: string;
  readonly #lines: LineCounter;

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  say(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.problems.push({ file: this.#file, line, column: col, message });
  }

  domain(node: Node): DomainConfig | undefined {
    const map = this.#map(node, 'a configuration', ['domain', 'descriptors']);
    if (map === undefined) return undefined;
    const domain = this.#text(map, 'domain');
    if (domain === '') {
      this.say(start(node), 'domain is required');
      return undefined;
    }
    return { domain, file: this.#file, line: this.#lines.linePos(start(node)).line, root: this.#children(map, domain, undefined, 0) };
  }

  #children(map: YAMLMap, path: string, limit: Limit | undefined, depth: number): LimitNode {
    const children = new Map<string, LimitNode>();
    const wildcards: string[] = [];
    const list = map.get('descriptors', true) as Node | undefined;
    if (list !== undefined && !isNull(list)) {
      if (!isSeq(list)) this.say(start(list), 'descriptors must be a list');
      else if (depth >= DEPTH_MAX) this.say(start(list), `descriptors are nested deeper than ${DEPTH_MAX}`);
      else for (const item of list.items) this.#descriptor(item as Node, path, depth, children, wildcards);
    }
    return { limit, children, wildcards };
  }

  #descriptor(node: Node, path: string, depth: number, children: Map<string, LimitNode>, wildcards: string[]): void {
    const map = this.#map(node, 'a descriptor', ['key', 'value', 'rate_limit', 'descriptors', 'shadow_mode', 'detailed_metric']);
    if (map === undefined) return;
    const key = this.#text(map, 'key');
    if (key === '') {
      this.say(start(node), 'a descriptor needs a key');
      return;
    }
    const name = nodeName(key, this.#text(map, 'value'));
    if (children.has(name)) {
      this.say(start(node), `"${name}" is described twice in ${path}`);
      return;
    }
    const own = `${path}.${name}`;
    const flags = { shadow: this.#flag(map, 'shadow_mode'), detailed: this.#flag(map, 'detailed_metric') };
    const stated = map.get('rate_limit', true) as Node | undefined;
    const limit = stated === undefined || isNull(stated) ? undefined : this.#limit(stated, own, flags);
    children.set(name, this.#children(map, own, limit, depth + 1));
    if (name.endsWith('*')) wildcards.push(name);
  }

  #limit(node: Node, path: string, flags: Pick<Limit, 'shadow' | 'detailed'>): Limit | undefined {
    const map = this.#map(node, 'rate_limit', ['unit', 'requests_per_unit', 'unit_multiplier', 'unlimited', 'name', 'replaces']);
    if (map === undefined) return undefined;
    const unlimited = this.#flag(map, 'unlimited');
    const unitText = this.#text(map, 'unit');
    const unit = unitOf(unitText);
    const name = this.#text(map, 'name');
    if (unlimited && unitText !== '') this.say(offsetOf(map, 'unit'), 'an unlimited rate_limit has no unit');
    if (unlimited && map.has('requests_per_unit'))
      this.say(offsetOf(map, 'requests_per_unit'), 'an unlimited rate_limit has no requests_per_unit');
    if (!unlimited && unit === undefined)
      this.say(
        map.has('unit') ? offsetOf(map, 'unit') : start(node),
        unitText === '' ? 'unit is required' : `unit "${unitText}" is none of second, minute, hour, day, week, month, year`,
      );
    return {
      path,
      requests: this.#number(map, 'requests_per_unit', 0, 0),
      unit: unit ?? 'second',
      multiplier: this.#number(map, 'unit_multiplier', 1, 1),
      unlimited,
      ...flags,
      name,
      replaces: this.#replaces(map, name),
    };
  }

  #replaces(map: YAMLMap, own: string): ReadonlySet<string> {
    const names = new Set<string>();
    const list = map.get('replaces', true) as Node | undefined;
    if (list === undefined || isNull(list)) return names;
    if (!isSeq(list)) {
      this.say(start(list), 'replaces must be a list');
      return names;
    }
    for (const item of list.items) {
      const entry = this.#map(item as Node, 'an entry of replaces', ['name']);
      const name = entry === undefined ? '' : this.#text(entry, 'name');
      if (name === '') this.say(start(item as Node), 'an entry of replaces needs a name');
      else if (name === own) this.say(start(item as Node), 'a rate_limit cannot replace itself');
      else names.add(name);
    }
    return names;
  }

  #map(node: Node, what: string, known: readonly string[]): YAMLMap | undefined {
    if (!isMap(node)) {
      this.say(start(node), `${what} must be a map`);
      return undefined;
    }
    for (const { key } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      if (!known.includes(name)) this.say(start(key as Node), `${what} has no field "${name}" (known: ${known.join(', ')})`);
    }
    return node;
  }

  #text(map: YAMLMap, name: string): string {
    const value = map.get(name);
    if (value === undefined || value === null) return '';
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return sourceText(map, name) ?? String(value);
    this.say(offsetOf(map, name), `${name} must be a text`);
    return '';
  }

  #flag(map: YAMLMap, name: string): boolean {
    const value = map.get(name);
    if (value !== undefined && typeof value !== 'boolean') this.say(offsetOf(map, name), `${name} must be true or false`);
    return value === true;
  }

  #number(map: YAMLMap, name: string, least: number, otherwise: number): number {
    const value = map.get(name);
    if (value === undefined) return otherwise;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= REQUESTS_MAX) return value;
    this.say(offsetOf(map, name), `${name} must be a whole number from ${least} to ${REQUESTS_MAX}`);
    return otherwise;
  }
}

const start = (node: Node): number => node.range?.[0] ?? 0;
const isNull = (node: Node): boolean => isScalar(node) && node.value === null;
const offsetOf = (map: YAMLMap, name: string): number => {
  const value = map.get(name, true) as Node | undefined;
  return value === undefined ? start(map) : start(value);
};
/** `value: 1.0` means the text as it stands. */
const sourceText = (map: YAMLMap, name: string): string | undefined => {
  const node = map.get(name, true) as Node | undefined;
  return isScalar(node) && typeof node.value !== 'string' ? node.source : undefined;
};
