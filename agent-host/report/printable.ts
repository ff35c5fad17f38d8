// printable(): text from anywhere as text that no terminal obeys.
//
//   "eth0\x1b[2J"  ->  "eth0\\x1b[2J"

/** Longer text is cut, with "..." at its end. */
export const PRINTABLE_MAX = 256;

/** Printable ASCII as it is; controls and DEL as \xNN, everything above as \uNNNN. */
export function printable(text: string): string {
  const short = text.length > PRINTABLE_MAX ? `${text.slice(0, PRINTABLE_MAX - 3)}...` : text;
  return short.replace(/[^ -~]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}
