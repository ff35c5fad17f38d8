// printableAscii(): text from anywhere in a message of ours, where no terminal obeys it.
//
//   "eth0\x1b[2J"  ->  "eth0?[2J"
//
// Each UTF-16 unit becomes one character: a caret below the text keeps its place.

export function printableAscii(text: string): string {
  return text.replace(/[^ -~]/g, "?");
}
