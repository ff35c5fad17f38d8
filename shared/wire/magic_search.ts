// findMagic(): the next place where a frame may begin.
//
// Looks at every fourth byte only (Horspool's search): the magic's four bytes differ, so one byte
// says how far the next possible place is. 64 KiB of garbage take some tens of microseconds,
// whatever is in it.

const MAGIC_0 = 0x56; // V
const MAGIC_1 = 0x4d; // M
const MAGIC_2 = 0x53; // S
const MAGIC_3 = 0x50; // P

/**
 * How far a place is ruled out when the byte three behind it is this one; 0 when it is not. A table
 * rather than branches, so that it costs the same for all garbage.
 */
const STEP = new Uint8Array(256).fill(4);
STEP[MAGIC_0] = 3;
STEP[MAGIC_1] = 2;
STEP[MAGIC_2] = 1;
STEP[MAGIC_3] = 0;

/**
 * The first place at or after `from` where bytes[.., end) has the magic, or, in its last three
 * bytes, the beginning of one; `end` when there is neither.
 */
export function findMagic(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at + 4 <= end) {
    const step = STEP[bytes[at + 3]!]!;
    if (step > 0) at += step;
    else if (bytes[at] === MAGIC_0 && bytes[at + 1] === MAGIC_1 && bytes[at + 2] === MAGIC_2) {
      return at;
    } else at += 4;
  }
  for (; at < end; at++) {
    if (
      bytes[at] === MAGIC_0 &&
      (at + 1 >= end || bytes[at + 1] === MAGIC_1) &&
      (at + 2 >= end || bytes[at + 2] === MAGIC_2)
    ) {
      return at;
    }
  }
  return end;
}
