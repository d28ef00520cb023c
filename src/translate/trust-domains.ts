// A mesh known by several names: a principal that names one of the mesh's trust domains means the same workload under all of them.

/** Written in policies for "this mesh", whatever its trust domain is. */
const THIS_MESH = 'cluster.local';
/** `domain/ns/namespace/sa/account`. */
const PARTS = 5;

const domainOf = (principal: string): string | undefined => {
  const parts = principal.split('/');
  return parts.length === PARTS ? parts[0] : undefined;
};

/** `*suffix` and plain names; `*` alone names no domain. */
const fits = (domain: string, pattern: string): boolean =>
  pattern.startsWith('*') ? pattern.length > 1 && domain.endsWith(pattern.slice(1)) : domain === pattern;

/** `domains`: the trust domain, then its aliases. */
export const expandPrincipals = (principals: readonly string[], domains: readonly string[]): readonly string[] =>
  principals.flatMap((principal) => {
    const domain = domainOf(principal);
    if (domain === undefined || domain === '*') return [principal];
    if (domain !== THIS_MESH && !domains.some((d) => fits(d, domain))) return [principal];
    const rest = principal.slice(domain.length);
    return [...new Set(domains.map((d) => (domain.startsWith('*') && fits(d, domain) ? principal : `${d}${rest}`)))];
  });

/** Patterns are left as they are. */
export const expandTrustDomains = (values: readonly string[], domains: readonly string[]): readonly string[] => [
  ...new Set(values.flatMap((v) => (domains.includes(v) ? domains : [v]))),
];
