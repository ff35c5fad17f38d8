// Shell globs as the kernel's trace filters and event wildcards have them: * ? [a-z] [!a] \x, and
// [^a] as perf-prof takes it.
//
// Linear backtracking: only the last `*` is ever retried, so a hostile pattern or text costs at
// most pattern length times text length and never more.

/** Characters of a pattern. */
export const GLOB_PATTERN_MAX = 4096;
/** Bytes of one [class]. */
export const GLOB_CLASS_MAX = 256;

const STAR = 0x2a;
const QUESTION = 0x3f;
const BACKSLASH = 0x5c;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const EXCLAMATION = 0x21;
const CARET = 0x5e;
const MINUS = 0x2d;

/** Whether `text` matches `pattern` as a whole; `?` and classes match one byte of UTF-8. */
export function globMatch(pattern: string, text: string): boolean {
  return globMatcher(pattern)(text);
}

/**
 * globMatch() with the pattern fixed. Throws RangeError when it is longer than GLOB_PATTERN_MAX.
 */
export function globMatcher(pattern: string): (text: string) => boolean {
  if (pattern.length > GLOB_PATTERN_MAX) {
    throw new RangeError(
      `Cannot match a pattern of ${pattern.length} characters: limit is ${GLOB_PATTERN_MAX}`,
    );
  }
  const bytes = new TextEncoder().encode(pattern);
  return (text) => {
    const subject = new TextEncoder().encode(text);
    return globBytes(bytes, 0, bytes.length, subject, 0, subject.length);
  };
}

/** Whether text[textFrom .. textTo) matches pattern[patternFrom .. patternTo) as a whole. */
export function globBytes(
  pattern: Uint8Array,
  patternFrom: number,
  patternTo: number,
  text: Uint8Array,
  textFrom: number,
  textTo: number,
): boolean {
  let at = textFrom;
  let patternAt = patternFrom;
  let starAt = -1;
  let starText = textFrom;
  while (at < textTo) {
    if (patternAt < patternTo && pattern[patternAt] === STAR) {
      starAt = patternAt++;
      starText = at;
      continue;
    }
    const next = patternAt < patternTo ? matchOne(pattern, patternAt, patternTo, text[at]!) : -1;
    if (next >= 0) {
      patternAt = next;
      at++;
    } else if (starAt >= 0) {
      patternAt = starAt + 1;
      at = ++starText;
    } else {
      return false;
    }
  }
  while (patternAt < patternTo && pattern[patternAt] === STAR) patternAt++;
  return patternAt === patternTo;
}

/** Matches one byte; returns where the pattern goes on, or -1. */
function matchOne(pattern: Uint8Array, at: number, patternTo: number, byte: number): number {
  const code = pattern[at]!;
  if (code === QUESTION) return at + 1;
  if (code === BACKSLASH && at + 1 < patternTo) return pattern[at + 1] === byte ? at + 2 : -1;
  if (code === OPEN) {
    const end = classEnd(pattern, at, patternTo);
    // A class that is not closed is a plain bracket, as in the kernel's glob_match().
    if (end >= 0) return inClass(pattern, at + 1, end, byte) ? end + 1 : -1;
  }
  return code === byte ? at + 1 : -1;
}

function isInversion(code: number | undefined): boolean {
  return code === EXCLAMATION || code === CARET;
}

function classEnd(pattern: Uint8Array, at: number, patternTo: number): number {
  // A bracket in the first place belongs to the class.
  const first = isInversion(pattern[at + 1]) ? at + 2 : at + 1;
  const limit = Math.min(patternTo, at + GLOB_CLASS_MAX);
  for (let end = first + 1; end < limit; end++) if (pattern[end] === CLOSE) return end;
  return -1;
}

function inClass(pattern: Uint8Array, from: number, end: number, byte: number): boolean {
  const isInverted = isInversion(pattern[from]);
  let at = isInverted ? from + 1 : from;
  let found = false;
  while (at < end) {
    const low = pattern[at]!;
    if (pattern[at + 1] === MINUS && at + 2 < end) {
      if (byte >= low && byte <= pattern[at + 2]!) found = true;
      at += 3;
    } else {
      if (byte === low) found = true;
      at++;
    }
  }
  return found !== isInverted;
}
