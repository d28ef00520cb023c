// Setting and removing query parameters of a request path as Envoy does: whoever touches one gets all of them sorted by name, each
// with its `=`. Nothing is decoded or encoded.

export const queryWith = (path: string, set: readonly (readonly [string, string])[], remove: readonly string[]): string =>
  editedQuery(path, (parameters) => {
    for (const [name, value] of set) parameters.set(name, [value]);
    for (const name of remove) parameters.delete(name);
  });

/** The path after `edit` has changed the values by name. */
export const editedQuery = (path: string, edit: (parameters: Map<string, string[]>) => void): string => {
  const mark = path.indexOf('?');
  const parameters = new Map<string, string[]>();
  const query = mark < 0 ? '' : path.slice(mark + 1);
  for (const part of query === '' ? [] : query.replace(/&$/, '').split('&')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    const values = parameters.get(name);
    const value = equals < 0 ? '' : part.slice(equals + 1);
    if (values === undefined) parameters.set(name, [value]);
    else values.push(value);
  }
  edit(parameters);
  const sorted = [...parameters].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const text = sorted.flatMap(([name, values]) => values.map((value) => `${name}=${value}`)).join('&');
  return `${mark < 0 ? path : path.slice(0, mark)}${text === '' ? '' : `?${text}`}`;
};
