/**
 * The corpora: small inputs, made by hand or found, that every campaign begins with. Bytes are a
 * file of hex, formats a file of text, one input each behind a line that says what it is:
 *
 *   # a frame that claims a byte more than there is
 *   564d0105 09000000
 *   00
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

function sections(file: string): string[] {
  const text = readFileSync(join(import.meta.dirname, "corpus", file), "utf8");
  return text.split(/^# .*\n/m).slice(1);
}

/** Inputs in hex, with white space anywhere. */
export function bytesCorpus(file: string): Uint8Array[] {
  return sections(file).map((hex) => Uint8Array.fromHex(hex.replaceAll(/\s/g, "")));
}

/** Inputs as they are. */
export function textCorpus(file: string): Uint8Array[] {
  return sections(file).map((text) => new TextEncoder().encode(text));
}
