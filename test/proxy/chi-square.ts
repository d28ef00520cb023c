// Whether counts follow shares: the probability of counts at least as uneven as these, were the shares true (Pearson's χ²).

/** log Γ, Stirling's series. */
const logGamma = (x: number): number => {
  if (x < 10) return logGamma(x + 1) - Math.log(x);
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5);
};

/** Upper regularized incomplete gamma Q(a, x). */
const upperGamma = (a: number, x: number): number => {
  if (x <= 0) return 1;
  const scale = Math.exp(-x + a * Math.log(x) - logGamma(a));
  if (x < a + 1) {
    let [sum, term] = [1 / a, 1 / a];
    for (let n = 1; n < 1000 && term > sum * 1e-14; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return 1 - sum * scale;
  }
  // Lentz's continued fraction.
  let b = x + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let h = d;
  for (let i = 1; i < 1000; i++) {
    const an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return h * scale;
};

/** `shares` need not add up to 1; a share of 0 allows no count at all. */
export const chiSquareP = (counts: readonly number[], shares: readonly number[]): number => {
  const total = counts.reduce((a, b) => a + b, 0);
  const whole = shares.reduce((a, b) => a + b, 0);
  let [sum, kinds] = [0, 0];
  for (const [i, count] of counts.entries()) {
    const expected = (total * (shares[i] ?? 0)) / whole;
    if (expected === 0) {
      if (count > 0) return 0;
      continue;
    }
    kinds++;
    sum += (count - expected) ** 2 / expected;
  }
  return upperGamma((kinds - 1) / 2, sum / 2);
};

/** The same numbers in [0, 1) every time (mulberry32). */
export const seeded = (seed: number): (() => number) => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
};
