// One order for everything that competes: oldest first, then by name, then by namespace. Objects without a creation time count as oldest.

export interface Aged {
  readonly name: string;
  readonly namespace: string;
  readonly creationMs: number;
}

export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export const compareAge = (a: Aged, b: Aged): number =>
  a.creationMs - b.creationMs || compareText(a.name, b.name) || compareText(a.namespace, b.namespace);

export const creationMsOf = (timestamp: string | undefined): number => {
  if (timestamp === undefined) return 0;
  const ms = Date.parse(timestamp);
  return Number.isNaN(ms) ? 0 : ms;
};
