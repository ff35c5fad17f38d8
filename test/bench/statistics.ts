/** Medians and verdicts. Pure: numbers in, numbers and text out. */

/** The middle value, or the mean of the two in the middle; undefined for none. */
export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle];
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median of a[i] / b[i]: both sides of a pair were measured in the same round. */
export function medianRatio(a: readonly number[], b: readonly number[]): number | undefined {
  const pairs = Math.min(a.length, b.length);
  const ratios: number[] = [];
  for (let i = 0; i < pairs; i++) if (b[i]! > 0) ratios.push(a[i]! / b[i]!);
  return median(ratios);
}

/** "41.2", "412", "-" when there is none. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return "-";
  return value.toFixed(Math.abs(value) < 100 ? 1 : 0);
}

/** 4213000 as "4.21 M", 421300 as "421 k". */
export function formatRate(value: number | undefined): string {
  if (value === undefined) return "-";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(0)} k`;
  return value.toFixed(0);
}
