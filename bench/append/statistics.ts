export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** Ratio of medians with its 95 % bootstrap interval: whole blocks are drawn, so both sides of a draw saw the same machine. */
export function ratio(over: readonly number[], under: readonly number[], draws = 4_000): { ratio: number; low: number; high: number } {
  const ratios: number[] = [];
  for (let draw = 0; draw < draws; draw++) {
    const a: number[] = [];
    const b: number[] = [];
    for (let i = 0; i < over.length; i++) {
      const block = Math.floor(Math.random() * over.length);
      a.push(over[block]!);
      b.push(under[block]!);
    }
    ratios.push(median(a) / median(b));
  }
  return { ratio: median(over) / median(under), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}
