// %p and the kernel's letters behind it.
//
//   %pS do_idle+0x1a   %ps do_idle   %pI4 10.0.0.1   %pISpc [::1]:80   %pM 52:54:00:12:34:56
//   %pU uuid   %*ph 01 02 03   %*pbl 0-3,8   %p 0xffff888003c02000
//
// A plain %p prints the address as it is in the record: hashing it is the kernel's way of not
// showing it to those who may not read it, and who reads records may.

import type { ExprNode } from "../expr/ast.ts";
import type { IntEval } from "../expr/evaluate.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { Conversion } from "../text/printf.ts";
import {
  writeIpv4,
  writeIpv6,
  writeIpv6Short,
  writeMac,
  writeSockaddr,
  writeUuid,
} from "./print_address.ts";
import { bitsPiece, writeHex } from "./print_array.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";
import { placeOf } from "./print_place.ts";
import type { SymbolResolver } from "./symbols.ts";

/** An argument printed by a %p conversion. Throws ExprError. */
export function pointerPiece(
  compiler: PieceCompiler,
  conversion: Conversion,
  node: ExprNode,
  width: IntEval | undefined,
): PrintPiece {
  const { suffix } = conversion;
  switch (suffix[0]) {
    case "F":
    case "f":
    case "S":
    case "s":
    case "B":
      return symbolPiece(compiler, node, "FSB".includes(suffix[0]));
    case "M":
    case "m":
      return bytesPiece(compiler, node, 6, "INVALIDMAC", (out, bytes, at) =>
        writeMac(out, bytes, at, suffix),
      );
    case "U":
      return bytesPiece(compiler, node, 16, "INVALIDUUID", (out, bytes, at) =>
        writeUuid(out, bytes, at, suffix),
      );
    case "I":
    case "i":
      return ipPiece(compiler, node, suffix);
    case "h":
      return dumpPiece(compiler, node, conversion, width);
    case "b":
      return bitsPiece(
        placeOf(compiler, node),
        width ?? Math.max(0, conversion.width),
        suffix === "bl",
      );
    case "a":
    case "N":
      return valuePiece(compiler, node, suffix[0] === "a" ? 16 : 1);
    case "E":
      return escapedPiece(compiler, node, conversion, width);
    default:
      return addressPiece(compiler, node);
  }
}

/** Name and offset; without a name the address. */
function symbolPiece(compiler: PieceCompiler, node: ExprNode, hasOffset: boolean): PrintPiece {
  const { evaluate } = compiler.number(node);
  const { symbols } = compiler.options;
  return (c, out) => {
    const lo = evaluate(c);
    writeSymbol(out, symbols, lo, c.hi, hasOffset);
  };
}

/** "do_idle+0x1a", "do_idle" without the offset, "0xffffffff81000000" without a name. */
export function writeSymbol(
  out: ByteWriter,
  symbols: SymbolResolver | undefined,
  lo: number,
  hi: number,
  hasOffset: boolean,
): void {
  const hit = symbols?.lookup(lo, hi);
  if (hit === undefined) {
    out.ascii("0x");
    out.hex64(lo, hi);
    return;
  }
  // The name may come from a guest.
  out.untrustedText(hit.name);
  if (!hasOffset) return;
  out.ascii("+0x");
  out.hex64(hit.offset >>> 0, Math.floor(hit.offset / 4294967296));
}

type BytesWriter = (out: ByteWriter, bytes: Uint8Array, at: number) => void;

/** A field of exactly `sizeBytes`, or the mark that libtraceevent prints for any other. */
function bytesPiece(
  compiler: PieceCompiler,
  node: ExprNode,
  sizeBytes: number,
  invalid: string,
  write: BytesWriter,
): PrintPiece {
  const place = placeOf(compiler, node);
  return (c, out) => {
    place.find(c);
    const found = place.sizeBytes > 0 ? place.sizeBytes : c.textTo - c.textFrom;
    const isComplete = c.textTo - c.textFrom >= sizeBytes;
    const isRight = place.field === undefined || found === sizeBytes;
    if (isRight && isComplete) write(out, c.textBytes, c.textFrom);
    else out.ascii(invalid);
  };
}

function ipPiece(compiler: PieceCompiler, node: ExprNode, suffix: string): PrintPiece {
  const isUpper = suffix[0] === "I";
  switch (suffix[1]) {
    case "4": {
      const isReversed = suffix[2] === "h" || suffix[2] === "l";
      return bytesPiece(compiler, node, 4, "INVALIDIPv4", (out, bytes, at) =>
        writeIpv4(out, bytes, at, !isUpper, isReversed),
      );
    }
    case "6":
      return bytesPiece(compiler, node, 16, "INVALIDIPv6", (out, bytes, at) => {
        if (suffix[2] === "c") writeIpv6Short(out, bytes, at);
        else writeIpv6(out, bytes, at, isUpper);
      });
    default: {
      const place = placeOf(compiler, node);
      return (c, out) => {
        place.find(c);
        writeSockaddr(out, c.textBytes, c.textFrom, c.textTo, suffix);
      };
    }
  }
}

const DUMP_DELIMITERS: ReadonlyMap<string, string> = new Map([
  ["h", " "],
  ["hC", ":"],
  ["hD", "-"],
  ["hN", ""],
]);

/** The kernel's own limit of %*ph. */
const DUMP_BYTES_MAX = 64;

/** %16ph or %*ph: the width is the number of bytes; without one it is a single byte. */
function dumpPiece(
  compiler: PieceCompiler,
  node: ExprNode,
  conversion: Conversion,
  width: IntEval | undefined,
): PrintPiece {
  const place = placeOf(compiler, node);
  const delimiter = DUMP_DELIMITERS.get(conversion.suffix) ?? " ";
  return (c, out) => {
    const wanted = width === undefined ? Math.max(1, conversion.width) : width(c);
    place.find(c);
    const count = Math.min(Math.max(0, wanted), DUMP_BYTES_MAX);
    writeHex(out, c.textBytes, c.textFrom, Math.min(c.textTo, c.textFrom + count), delimiter);
  };
}

/** %pa (a physical address) and %pNF (features): the 64-bit number at a place. */
function valuePiece(compiler: PieceCompiler, node: ExprNode, digits: number): PrintPiece {
  return bytesPiece(compiler, node, 8, "INVALID", (out, bytes, at) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, 8);
    out.ascii("0x");
    out.hexPadded(view.getUint32(0, true), view.getUint32(4, true), digits);
  });
}

/** What the kernel's string_escape_mem() makes of bytes that are not printable. */
const ESCAPES: ReadonlyMap<number, string> = new Map([
  [0, "\\0"],
  [7, "\\a"],
  [9, "\\t"],
  [10, "\\n"],
  [11, "\\v"],
  [12, "\\f"],
  [13, "\\r"],
  [27, "\\e"],
]);

/** %*pE: bytes as a C string would have them; without a width it is a single byte. */
function escapedPiece(
  compiler: PieceCompiler,
  node: ExprNode,
  conversion: Conversion,
  width: IntEval | undefined,
): PrintPiece {
  const place = placeOf(compiler, node);
  return (c, out) => {
    const wanted = width === undefined ? Math.max(1, conversion.width) : width(c);
    place.find(c);
    const to = Math.min(c.textTo, c.textFrom + Math.max(0, wanted));
    for (let at = c.textFrom; at < to; at++) {
      const byte = c.textBytes[at]!;
      if (byte >= 0x20 && byte < 0x7f) out.u8(byte);
      else out.ascii(ESCAPES.get(byte) ?? `\\${byte.toString(8).padStart(3, "0")}`);
    }
  };
}

/** As glibc prints a pointer. */
function addressPiece(compiler: PieceCompiler, node: ExprNode): PrintPiece {
  const { evaluate } = compiler.number(node);
  return (c, out) => {
    const lo = evaluate(c);
    if ((lo | c.hi) === 0) {
      out.ascii("(nil)");
      return;
    }
    out.ascii("0x");
    out.hex64(lo, c.hi);
  };
}
