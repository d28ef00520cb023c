// What proxies refused, said of the object that caused it: a refusal names a resource, a resource says what it was made from.
import type { Problem } from '../api/problem.ts';
import type { Resource } from '../api/resource.ts';
import type { Content, EncodedResource } from '../xds/content.ts';

/** One proxy's refusal of what it was last sent of a type. */
export interface Refusal {
  /** `name.namespace` */
  readonly proxy: string;
  /** `CDS` and the like. */
  readonly type: string;
  readonly message: string;
  /** What the proxy was to have. */
  readonly content: Content | undefined;
}

/** Refusals told in one answer; proxies of one kind refuse alike. */
const REFUSALS_MAX = 100;
const CONFIG_PATH = /\/apis\/[a-z.]+\/v[a-z0-9]+\/namespaces\/([a-z0-9.-]+)\/(virtual-service|destination-rule|sidecar)\/([a-z0-9.-]+)/g;
const KINDS: Readonly<Record<string, string>> = {
  'virtual-service': 'VirtualService',
  'destination-rule': 'DestinationRule',
  sidecar: 'Sidecar',
};

/** One problem an object and text, whichever proxies said it. Without an object where none, or more than one, can have caused it. */
export const nackProblems = (refusals: readonly Refusal[], objects: readonly Resource[]): readonly Problem[] => {
  const found = new Map<
    string,
    { readonly problem: Omit<Problem, 'message'>; readonly what: string; readonly text: string; readonly proxies: Set<string> }
  >();
  for (const refusal of refusals) {
    const object = cause(refusal, objects);
    const text = `${refusal.type}: ${refusal.message}`;
    const key = `${object?.kind} ${object?.namespace}/${object?.name} ${text}`;
    const entry = found.get(key) ?? {
      problem: problemAt(object),
      what: object === undefined ? 'its configuration' : 'what was made of this',
      text,
      proxies: new Set<string>(),
    };
    entry.proxies.add(refusal.proxy);
    if (found.size < REFUSALS_MAX) found.set(key, entry);
  }
  return [...found.values()].map(({ problem, what, text, proxies }) => {
    const [first = ''] = proxies;
    const who = proxies.size === 1 ? first : `${first} and ${proxies.size - 1} more`;
    return { ...problem, message: `${who} refused ${what}: ${text}` };
  });
};

const problemAt = (object: Resource | undefined): Omit<Problem, 'message'> => ({
  code: 'REFUSED_BY_PROXY',
  severity: 'error',
  ...(object === undefined
    ? { file: '', line: 0, column: 0, path: '' }
    : { file: object.origin.file, ...object.origin.at('metadata.name'), path: 'metadata.name' }),
  hint: 'the proxy runs on with what it had',
});

const cause = ({ message, content }: Refusal, objects: readonly Resource[]): Resource | undefined => {
  const named = [...(content?.resources.values() ?? [])].filter((r) => r.name !== '' && message.includes(r.name));
  const paths = new Set(named.flatMap(pathsIn));
  const [only] = paths;
  if (paths.size !== 1 || only === undefined) return undefined;
  const [kind, namespace, name] = only.split(' ');
  return objects.find((o) => o.kind === kind && o.namespace === namespace && o.name === name);
};

const pathsIn = (r: EncodedResource): readonly string[] => {
  const text = Buffer.from(r.bytes.buffer, r.bytes.byteOffset, r.bytes.byteLength).toString('latin1');
  return [...text.matchAll(CONFIG_PATH)].map(([, namespace, kind = '', name]) => `${KINDS[kind]} ${namespace} ${name}`);
};
