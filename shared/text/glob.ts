// Shell globs as the kernel's trace filters and event wildcards have them: * ? [a-z] [!a] \x.
//
// Linear backtracking: only the last `*` is ever retried, so a hostile pattern or text costs at most
// pattern length times text length and never more.

/** Characters of a pattern. */
export const GLOB_PATTERN_MAX = 4096;

/** Whether `text` matches `pattern` as a whole. */
export function globMatch(pattern: string, text: string): boolean {
  let at = 0;
  let patternAt = 0;
  let starAt = -1;
  let starText = 0;
  while (at < text.length) {
    if (patternAt < pattern.length && pattern[patternAt] === "*") {
      starAt = patternAt++;
      starText = at;
      continue;
    }
    const next = patternAt < pattern.length ? matchOne(pattern, patternAt, text[at]!) : -1;
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
  while (pattern[patternAt] === "*") patternAt++;
  return patternAt === pattern.length;
}

/** globMatch() with the pattern fixed. Throws RangeError when it is longer than GLOB_PATTERN_MAX. */
export function globMatcher(pattern: string): (text: string) => boolean {
  if (pattern.length > GLOB_PATTERN_MAX) {
    throw new RangeError(
      `Cannot match a pattern of ${pattern.length} characters: limit is ${GLOB_PATTERN_MAX}`,
    );
  }
  return (text) => globMatch(pattern, text);
}

/** Matches one character; returns where the pattern goes on, or -1. */
function matchOne(pattern: string, at: number, char: string): number {
  const code = pattern[at]!;
  if (code === "?") return at + 1;
  if (code === "\\" && at + 1 < pattern.length) return pattern[at + 1] === char ? at + 2 : -1;
  if (code === "[") {
    const end = classEnd(pattern, at);
    // A class that is not closed is a plain bracket, as in the kernel's glob_match().
    if (end >= 0) return inClass(pattern, at + 1, end, char) ? end + 1 : -1;
  }
  return code === char ? at + 1 : -1;
}

function classEnd(pattern: string, at: number): number {
  const first = pattern[at + 1] === "!" ? at + 2 : at + 1;
  // A bracket in the first place belongs to the class.
  return pattern.indexOf("]", first + 1);
}

function inClass(pattern: string, from: number, end: number, char: string): boolean {
  const isInverted = pattern[from] === "!";
  let at = isInverted ? from + 1 : from;
  let found = false;
  while (at < end) {
    const low = pattern[at]!;
    if (pattern[at + 1] === "-" && at + 2 < end) {
      if (char >= low && char <= pattern[at + 2]!) found = true;
      at += 3;
    } else {
      if (char === low) found = true;
      at++;
    }
  }
  return found !== isInverted;
}
