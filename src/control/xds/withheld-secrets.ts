// What is said of credentials that proxies ask for and are not given, because it is a claim only which workload they are: secrets are for
// workloads that have proven who they are. One problem a place that names a credential, whichever proxies ask for it. On incremental
// streams such a name is answered as removed, and Envoy goes on at once; by the other protocol no answer, not even an empty one, ends its
// wait, so its configuration tells it to wait hardly at all (under Istio, as long as Envoy does: 15 seconds). Its other listeners serve.
import type { Problem } from '../../api/problem.ts';
import type { Resource } from '../../api/resource.ts';
import { CONFIG_MAP_SCHEME, CREDENTIAL_SCHEME, caResource, credentialResource } from '../../translate/names.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { Subscribed } from '../../xds/discovery-machine.ts';

export interface Withheld {
  /** `name.namespace` */
  readonly proxy: string;
  readonly names: readonly string[];
}

/** Of one proxy; its further ones are as little given. */
const NAMES_MAX = 20;
/** Proxies named in one message; of more, how many. */
const PROXIES_MAX = 5;
/** The names are the peers'. */
const NAME_CHARS_MAX = 300;
/** Where objects name credentials. */
const KEYS: ReadonlySet<string> = new Set(['credentialName', 'credentialNames', 'caCertCredentialName']);
const KINDS: ReadonlySet<string> = new Set(['Gateway', 'DestinationRule']);

/** Of what it asks for. */
export const withheldNames = (node: ProxyNode | undefined, asked: Subscribed | undefined): readonly string[] => {
  if (!node || node.proven || asked === undefined || asked === '*') return [];
  const out: string[] = [];
  for (const name of asked) {
    if (out.length >= NAMES_MAX) break;
    if ((name.startsWith(CREDENTIAL_SCHEME) || name.startsWith(CONFIG_MAP_SCHEME)) && name.length <= NAME_CHARS_MAX) out.push(name);
  }
  return out;
};

export const withheldProblems = (withheld: readonly Withheld[], objects: readonly Resource[]): readonly Problem[] => {
  const proxies = new Map<string, Set<string>>();
  for (const { proxy, names } of withheld) {
    for (const name of names) proxies.set(name, (proxies.get(name) ?? new Set()).add(proxy));
  }
  if (proxies.size === 0) return [];
  const places = placesOf(objects, new Set(proxies.keys()));
  return [...proxies].flatMap(([name, who]) => {
    const said = {
      code: 'CREDENTIAL_WITHHELD',
      severity: 'warning',
      message: `${listed(who)} asked for ${JSON.stringify(name)} without proof of which workload it is: it is not given, and connections that need it fail`,
      hint: 'connect it through skein agent with the token of a registered replica, as skein up does',
    } as const;
    const found = places.get(name) ?? [];
    if (found.length === 0) return [{ ...said, file: '', line: 0, column: 0, path: '' }];
    return found.map(({ resource, path }) => ({ ...said, file: resource.origin.file, ...resource.origin.at(path), path }));
  });
};

interface Place {
  readonly resource: Resource;
  readonly path: string;
}

/** By the name that is asked for over SDS. */
const placesOf = (objects: readonly Resource[], names: ReadonlySet<string>): ReadonlyMap<string, readonly Place[]> => {
  const out = new Map<string, Place[]>();
  for (const resource of objects) {
    if (!KINDS.has(resource.kind)) continue;
    const visit = (value: unknown, path: string, key: string): void => {
      if (typeof value === 'string' && KEYS.has(key) && value !== '') {
        for (const name of new Set([credentialResource(value), caResource(value)])) {
          if (names.has(name)) out.set(name, [...(out.get(name) ?? []), { resource, path }]);
        }
      } else if (Array.isArray(value)) {
        for (const [i, item] of value.entries()) visit(item, `${path}[${i}]`, key);
      } else if (typeof value === 'object' && value !== null) {
        for (const [k, v] of Object.entries(value)) visit(v, `${path}.${k}`, k);
      }
    };
    visit(resource.spec, 'spec', '');
  }
  return out;
};

const listed = (proxies: ReadonlySet<string>): string => {
  const all = [...proxies].sort();
  const rest = all.length - PROXIES_MAX;
  return `${all.slice(0, PROXIES_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
};
