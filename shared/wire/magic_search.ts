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
 * The first place at or after `from` where bytes[.., end) has the magic, or, in its last three
 * bytes, the beginning of one; `end` when there is neither.
 */
export function findMagic(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at + 4 <= end) {
    switch (bytes[at + 3]) {
      case MAGIC_3:
        if (bytes[at] === MAGIC_0 && bytes[at + 1] === MAGIC_1 && bytes[at + 2] === MAGIC_2) {
          return at;
        }
        at += 4;
        break;
      case MAGIC_2:
        at += 1;
        break;
      case MAGIC_1:
        at += 2;
        break;
      case MAGIC_0:
        at += 3;
        break;
      default:
        at += 4;
    }
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
