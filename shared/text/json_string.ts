/**
 * A string of ours or of anybody's as a JSON string of plain ASCII: controls, DEL and everything
 * above as \uNNNN, because JSON lets C1 controls through, and terminals obey those.
 */
export function jsonString(text: string): string {
  return JSON.stringify(text).replace(
    /[^ -~]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
