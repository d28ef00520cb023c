// `exportTo` of services, routes and rules: who may see an object.

/** Own namespace (`.`) spelled out; empty means the mesh's default. */
export const resolveExportTo = (
  exportTo: readonly string[] | undefined,
  namespace: string,
  fallback: readonly string[],
): readonly string[] => {
  const list = exportTo === undefined || exportTo.length === 0 ? fallback : exportTo;
  return list.map((e) => (e === '.' ? namespace : e));
};

export const isPublic = (exportTo: readonly string[]): boolean => exportTo.includes('*');
export const isPrivate = (exportTo: readonly string[], namespace: string): boolean => exportTo.length === 1 && exportTo[0] === namespace;
export const visibleTo = (exportTo: readonly string[], namespace: string): boolean =>
  exportTo.includes('*') || exportTo.includes(namespace);
