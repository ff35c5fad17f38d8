/**
 * /proc/kallsyms as pieces for the channel. The file is read in small steps and nothing of it is
 * kept: a guest has no room for a table that only its host needs, and its rings want to be served
 * in between. Who takes the pieces stops whenever his time is up.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { KallsymsLine, parseKallsymsLine } from "../tracefs/symbols.ts";
import { isFunctionType, SymbolPieceWriter } from "./symbol_pieces.ts";

const READ_BYTES = 32 * 1024;
/** The longest line: address, letter, a name, a module. */
const LINE_BYTES_MAX = 2048;
const NEWLINE = 0x0a;

/** `__pfx_do_idle` names the padding in front of do_idle: half of the functions of Linux 6.x. */
const PADDING = new TextEncoder().encode("__pfx_");

function isPadding(text: Uint8Array, nameFrom: number): boolean {
  return PADDING.every((byte, i) => text[nameFrom + i] === byte);
}

/** Pieces with all functions of the running kernel; none when it hides their addresses. */
export function* kallsymsPieces(path = "/proc/kallsyms"): Generator<Uint8Array, void> {
  const writer = new SymbolPieceWriter();
  const line = new KallsymsLine();
  const latin1 = new TextDecoder("latin1");
  const buffer = new Uint8Array(LINE_BYTES_MAX + READ_BYTES);
  const file = openSync(path, "r");
  let kept = 0;
  try {
    for (;;) {
      const got = readSync(file, buffer, kept, READ_BYTES, null);
      if (got === 0) break;
      const filled = kept + got;
      let at = 0;
      for (;;) {
        const end = buffer.indexOf(NEWLINE, at);
        if (end < 0 || end >= filled) break;
        const isSymbol = parseKallsymsLine(buffer, at, end, line) && isFunctionType(line.type);
        if (isSymbol && !isPadding(buffer, line.nameFrom)) {
          const { address, type, nameFrom, nameTo, moduleFrom, moduleTo } = line;
          const module =
            moduleFrom === moduleTo ? "" : latin1.decode(buffer.subarray(moduleFrom, moduleTo));
          writer.add(address, type, module, buffer, nameFrom, nameTo);
          if (writer.isFull) yield writer.take();
        }
        at = end + 1;
      }
      // A line longer than any that kallsyms has is none.
      kept = filled - at > LINE_BYTES_MAX ? 0 : filled - at;
      buffer.copyWithin(0, filled - kept, filled);
    }
    if (!writer.isEmpty) yield writer.take();
  } finally {
    closeSync(file);
  }
}
