/**
 * Numbers below a bound, the same for the same seed (xorshift32); cheaper by far than fast-check's.
 */
export type Random = (bound: number) => number;

export function randomFrom(seed: number): Random {
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}
