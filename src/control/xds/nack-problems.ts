// What proxies refused, said of the object that most likely caused it: a refusal names resources, and of each is known what took part in it.
import type { Problem } from '../../api/problem.ts';
import type { Resource } from '../../api/resource.ts';
import type { Content, EncodedResource } from '../../xds/content.ts';
import { type Cause, type Refuser, refusalCauses } from './refusal-causes.ts';

/** One proxy's refusal of what it was last sent of a type. */
export interface Refusal {
  /** `name.namespace` */
  readonly proxy: string;
  /** `CDS` and the like. */
  readonly type: string;
  readonly message: string;
  /** What the proxy was to have. */
  readonly content: Content | undefined;
  /** Absent while the proxy or the mesh is not known: only what a resource says of itself is then looked at. */
  readonly by?: Refuser | undefined;
}

/** Refusals told in one answer; proxies of one kind refuse alike. */
const REFUSALS_MAX = 100;
/** Candidates named beside the most likely one. */
const CANDIDATES_MAX = 5;
/** Of more that are equally likely none is named as the cause. */
const EQUALS_MAX = 4;
/** Resources of one refusal that are looked at one by one. */
const NAMED_MAX = 20;

interface Blame {
  readonly cause: Cause | undefined;
  readonly others: readonly Cause[];
}

/** One problem an object and text, whichever proxies said it. Without an object where none can have caused it, or very many alike. */
export const nackProblems = (refusals: readonly Refusal[], objects: readonly Resource[]): readonly Problem[] => {
  const found = new Map<string, { readonly blame: Blame; readonly text: string; readonly proxies: Set<string> }>();
  for (const refusal of refusals) {
    const text = `${refusal.type}: ${refusal.message}`;
    for (const blame of blames(refusal, objects)) {
      const key = `${blame.cause === undefined ? '' : label(blame.cause)} ${blame.cause?.path} ${text}`;
      const entry = found.get(key) ?? { blame, text, proxies: new Set<string>() };
      entry.proxies.add(refusal.proxy);
      if (found.size < REFUSALS_MAX) found.set(key, entry);
    }
  }
  return [...found.values()].map(({ blame, text, proxies }) => {
    const [first = ''] = proxies;
    const who = proxies.size === 1 ? first : `${first} and ${proxies.size - 1} more`;
    const what = blame.cause === undefined ? 'its configuration' : 'what was made of this';
    return { ...problemAt(blame), message: `${who} refused ${what}: ${text}` };
  });
};

const problemAt = ({ cause, others }: Blame): Omit<Problem, 'message'> => {
  const named = others.slice(0, CANDIDATES_MAX).map((c) => `${label(c)} (${c.resource.origin.file}:${c.resource.origin.at(c.path).line})`);
  const more = others.length - named.length;
  const candidates = named.length === 0 ? '' : `; it may also come of ${named.join(', ')}${more > 0 ? ` or ${more} more` : ''}`;
  return {
    code: 'REFUSED_BY_PROXY',
    severity: 'error',
    ...(cause === undefined
      ? { file: '', line: 0, column: 0, path: '' }
      : { file: cause.resource.origin.file, ...cause.resource.origin.at(cause.path), path: cause.path }),
    hint: `the proxy runs on with what it had${candidates}`,
  };
};

const label = ({ resource: { kind, namespace, name } }: Cause): string => `${kind} ${namespace}/${name}`;

const UNKNOWN: Blame = { cause: undefined, others: [] };

/** One for every resource that the refusal names. */
const blames = (refusal: Refusal, objects: readonly Resource[]): readonly Blame[] => {
  const named = namedResources(refusal);
  if (named.length === 0) return [UNKNOWN];
  return named.map(({ resource, words }) => {
    const ranks = refusalCauses({ type: refusal.type, resource, words }, objects, refusal.by);
    const [best = []] = ranks;
    const all = ranks.flat();
    if (best.length > EQUALS_MAX) return { cause: undefined, others: all };
    const [cause, ...others] = all;
    return { cause, others };
  });
};

/**
 * With the words that follow each name, up to the next one. A name stands alone, `80` not being named by `outbound|80||pay`. Where there
 * is but one resource it is the one.
 */
const namedResources = ({ message, content }: Refusal): readonly { readonly resource: EncodedResource; readonly words: string }[] => {
  const found: { readonly resource: EncodedResource; readonly at: number }[] = [];
  for (const resource of content?.resources.values() ?? []) {
    const at = resource.name === '' ? -1 : placeIn(message, resource.name);
    if (at !== -1) found.push({ resource, at });
  }
  found.sort((a, b) => a.at - b.at);
  const [only = [...(content?.resources.values() ?? [])].map((resource) => ({ resource, at: 0 }))[0]] = found;
  if (only !== undefined && (found.length === 1 || content?.resources.size === 1)) return [{ resource: only.resource, words: message }];
  return found
    .slice(0, NAMED_MAX)
    .map(({ resource, at }, i) => ({ resource, words: message.slice(at + resource.name.length, found[i + 1]?.at ?? message.length) }));
};

const PART_OF_NAME = /[\w|.-]/;

const placeIn = (message: string, name: string): number => {
  for (let at = message.indexOf(name); at !== -1; at = message.indexOf(name, at + 1)) {
    const after = message[at + name.length] ?? ' ';
    if (PART_OF_NAME.test(message[at - 1] ?? ' ')) continue;
    if (!PART_OF_NAME.test(after) || (after === '.' && !PART_OF_NAME.test(message[at + name.length + 1] ?? ' '))) return at;
  }
  return -1;
};
