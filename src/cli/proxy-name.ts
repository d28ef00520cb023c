// `NAME` or `NAME.NAMESPACE` as people write it, found among the connected proxies.
import { AdminCallError } from './admin-client.ts';

interface Named {
  readonly name: string;
  readonly namespace: string;
}

/** Throws AdminCallError when none or several answer to the name. */
export const findProxy = <P extends Named>(proxies: readonly P[], name: string): P => {
  const exact = proxies.filter((p) => `${p.name}.${p.namespace}` === name || p.name === name);
  // A workload's name stands for its only replica.
  const found = exact.length > 0 ? exact : proxies.filter((p) => isReplica(p, name));
  const [only] = found;
  if (only && found.length === 1) return only;
  const list = (some: readonly P[]): string => some.map((p) => `${p.name}.${p.namespace}`).join(', ');
  if (only) throw new AdminCallError(409, 'AMBIGUOUS', `several proxies are called ${name}: ${list(found)}`, []);
  const known = proxies.length === 0 ? 'none is connected' : `connected are ${list(proxies)}`;
  throw new AdminCallError(404, 'NOT_FOUND', `no proxy called ${name} is connected; ${known}`, []);
};

const isReplica = (p: Named, name: string): boolean => {
  const workload = p.name.replace(/-[^-]+$/, '');
  return workload === name || `${workload}.${p.namespace}` === name;
};
