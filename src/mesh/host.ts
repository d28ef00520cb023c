// Host names as Istio compares them: only a leading `*` is a wildcard, comparison is by suffix, short names belong to the namespace of
// the rule that says them. Never resolves anything.

export const CLUSTER_DOMAIN = 'cluster.local';

const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;

export const isIpAddress = (text: string): boolean => IPV4.test(text) || (text.includes(':') && /^[0-9a-fA-F:.]+$/.test(text));

export const isWildcard = (host: string): boolean => host.startsWith('*');

/** A name without dots belongs to the rule's namespace; everything else stands for itself. */
export const resolveShortName = (host: string, namespace: string, domain: string): string => {
  if (host === '*' || host.includes('.') || isIpAddress(host)) return host;
  const qualified = namespace === '' ? host : `${host}.${namespace}`;
  return domain === '' ? qualified : `${qualified}.svc.${domain}`;
};

/** Symmetric: do the two names share any host? */
export const hostsMatch = (a: string, b: string): boolean => {
  const aWild = isWildcard(a);
  const bWild = isWildcard(b);
  if (aWild && bWild) {
    const x = a.slice(1);
    const y = b.slice(1);
    return x.length < y.length ? y.endsWith(x) : x.endsWith(y);
  }
  if (aWild) return b.endsWith(a.slice(1));
  if (bWild) return a.endsWith(b.slice(1));
  return a === b;
};

/** Directed: is every host of `a` a host of `b`? */
export const hostSubsetOf = (a: string, b: string): boolean => {
  const bWild = isWildcard(b);
  if (isWildcard(a)) return bWild && a.slice(1).endsWith(b.slice(1)) && a.length >= b.length;
  return bWild ? a.endsWith(b.slice(1)) : a === b;
};

/** Order of specificity: names before wildcards, longer before shorter, then lexical. */
export const compareSpecificity = (a: string, b: string): number => {
  const aWild = isWildcard(a);
  if (aWild !== isWildcard(b)) return aWild ? 1 : -1;
  if (a.length !== b.length) return b.length - a.length;
  return a < b ? -1 : a > b ? 1 : 0;
};
