/** Numbered events as tests compare them. */

/** `count` numbers that follow each other. */
export function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** A sorted copy: CPUs deliver in any order between themselves. */
export function ascending(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}
