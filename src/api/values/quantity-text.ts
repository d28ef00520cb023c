// Kubernetes quantities: `128Mi`, `500m`, `2`, `1e9`.

const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** Bytes, or cores; undefined when the text is no quantity. */
export const quantityValue = (text: string): number | undefined => {
  const found = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text);
  if (!found) return undefined;
  const scale = suffixes[found[3] ?? ''];
  return scale === undefined ? undefined : Number(`${found[1]}${found[2] ?? ''}`) * scale;
};
