// For which trust domains a root is: what makes one bundle per trust domain of the roots that a mesh trusts. On the way to the agents the
// scope is a comment before the certificate, which every other reader of PEM skips.

export interface Anchor {
  /** One certificate. */
  readonly pem: string;
  /** undefined: for every one. */
  readonly trustDomains: readonly string[] | undefined;
}

const SCOPE = /^# trust domains ([^\n]*)\n/;

export const anchorText = ({ pem, trustDomains }: Anchor): string =>
  trustDomains === undefined ? pem : `# trust domains ${trustDomains.join(' ')}\n${pem}`;

/** Of what `anchorText` wrote. */
export const anchorOf = (text: string): Anchor => {
  const scope = SCOPE.exec(text);
  if (scope === null) return { pem: text, trustDomains: undefined };
  return { pem: text.slice(scope[0].length), trustDomains: (scope[1] ?? '').split(' ').filter((name) => name !== '') };
};

export const isFor = ({ trustDomains }: Anchor, trustDomain: string): boolean =>
  trustDomains === undefined || trustDomains.includes(trustDomain);

/** Each certificate once, in the order of their coming, for all that it was said to be for; what binds it goes before what does not. */
export const mergeAnchors = (anchors: readonly Anchor[]): readonly Anchor[] => {
  const merged = new Map<string, Anchor>();
  for (const { pem, trustDomains } of anchors) {
    const before = merged.get(pem);
    if (before === undefined) merged.set(pem, { pem, trustDomains });
    else if (trustDomains !== undefined)
      merged.set(pem, { pem, trustDomains: [...new Set([...(before.trustDomains ?? []), ...trustDomains])] });
  }
  return [...merged.values()];
};

/** Every trust domain that some anchor is bound to; undefined when none is: all are trusted for every name then. */
export const boundDomains = (anchors: readonly Anchor[]): readonly string[] | undefined => {
  const names = new Set(anchors.flatMap((anchor) => anchor.trustDomains ?? []));
  return names.size === 0 ? undefined : [...names];
};
