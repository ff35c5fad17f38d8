// __print_hex_dump(prefix, prefix type, row bytes, group bytes, buffer, length, ascii): what the
// kernel's hex_dump_to_buffer() makes of each row. Rows are joined by "\n" as text, since a record
// is printed as one line.
//
//   raw: 00000000: 33 2e 2f 00 00 00 00 00 00 00 00 00 00 00 00 00  3./.............

import type { CallNode } from "../expr/ast.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import { evaluateConstant } from "./print_constant.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";
import { placeOf } from "./print_place.ts";

/** enum in <linux/printk.h>; an address (1) is not ours to print, so it counts as an offset. */
const DUMP_PREFIX_NONE = 0;
const DUMP_PREFIX_ADDRESS = 1;
const DUMP_PREFIX_OFFSET = 2;
const PREFIXES: ReadonlyMap<string, number> = new Map([
  ["DUMP_PREFIX_NONE", DUMP_PREFIX_NONE],
  ["DUMP_PREFIX_ADDRESS", DUMP_PREFIX_ADDRESS],
  ["DUMP_PREFIX_OFFSET", DUMP_PREFIX_OFFSET],
]);

interface DumpStyle {
  readonly prefix: string;
  readonly hasOffset: boolean;
  /** 16 or 32, as the kernel has it. */
  readonly rowBytes: number;
  /** 1, 2, 4 or 8: bytes that are shown as one little-endian number. */
  readonly groupBytes: number;
  readonly hasText: boolean;
}

/** Throws ExprError. */
export function hexDumpPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [prefix, type, row, group, buffer, length, text] = node.args;
  if (prefix?.kind !== "string" || text === undefined || node.args.length !== 7) {
    return compiler.fail("__print_hex_dump() takes a text and 6 more arguments", node);
  }
  const named = type!.kind === "name" ? PREFIXES.get(type!.name) : undefined;
  const rowBytes = evaluateConstant(compiler, row!).lo;
  const groupBytes = evaluateConstant(compiler, group!).lo;
  const style: DumpStyle = {
    prefix: new TextDecoder("latin1").decode(prefix.bytes).replace(/[^\x20-\x7e]/g, "?"),
    hasOffset: (named ?? evaluateConstant(compiler, type!).lo) !== DUMP_PREFIX_NONE,
    rowBytes: rowBytes === 32 ? 32 : 16,
    groupBytes: [1, 2, 4, 8].includes(groupBytes) ? groupBytes : 1,
    hasText: evaluateConstant(compiler, text).lo !== 0,
  };
  const place = placeOf(compiler, buffer!);
  const { evaluate } = compiler.number(length!);
  return (c, out) => {
    const count = Math.max(0, evaluate(c));
    place.find(c);
    const to = Math.min(c.textTo, c.textFrom + count);
    for (let at = c.textFrom; at < to; at += style.rowBytes) {
      if (at > c.textFrom) out.ascii("\\n");
      writeRow(out, c.textBytes, at, Math.min(to, at + style.rowBytes), at - c.textFrom, style);
    }
  };
}

function writeRow(
  out: ByteWriter,
  bytes: Uint8Array,
  from: number,
  to: number,
  offset: number,
  style: DumpStyle,
): void {
  out.ascii(style.prefix);
  if (style.hasOffset) {
    out.hexPadded(offset, 0, 8);
    out.ascii(": ");
  }
  // A row that does not divide into groups is shown by bytes.
  const groupBytes = (to - from) % style.groupBytes === 0 ? style.groupBytes : 1;
  const mark = out.mark();
  for (let at = from; at < to; at += groupBytes) {
    if (at > from) out.ascii(" ");
    for (let i = groupBytes - 1; i >= 0; i--) out.hexByte(bytes[at + i]!);
  }
  if (!style.hasText) return;
  const groups = style.rowBytes / groupBytes;
  out.padFrom(mark, style.rowBytes * 2 + groups + 1, true);
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    out.u8(byte >= 0x20 && byte < 0x7f ? byte : 0x2e);
  }
}
