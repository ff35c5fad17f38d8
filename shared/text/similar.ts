/** How alike two names are, for "did you mean". */

/** The most that similarity() gives for names that may be meant. */
export const SIMILARITY_ALIKE = 3;

/** By similarity, how long a name must be to tell: two typos make any two letters of any others. */
const CHARS_MIN = [1, 3, 5, 3];

/** 0 same, 1 and 2 that many typos, 3 contained, 4 unlike. */
export function similarity(wanted: string, candidate: string): number {
  if (wanted === candidate) return 0;
  if (Math.abs(wanted.length - candidate.length) <= 2) {
    const typos = editDistance(wanted, candidate);
    if (typos <= 2) return typos;
  }
  return candidate.includes(wanted) || (candidate.length > 4 && wanted.includes(candidate)) ? 3 : 4;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + same));
    }
    previous = row;
  }
  return previous[b.length]!;
}

/** The candidates that may be meant, nearest first. */
export function similarNames(wanted: string, candidates: readonly string[], most = 3): string[] {
  return candidates
    .map((candidate) => ({ candidate, rank: similarity(wanted, candidate) }))
    .filter(({ rank }) => wanted.length >= (CHARS_MIN[rank] ?? Infinity))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, most)
    .map(({ candidate }) => candidate);
}
