// __print_hex, __print_array, __get_bitmask, __get_cpumask and their kin.

import type { CallNode, ExprNode } from "../expr/ast.ts";
import type { EvalContext } from "../expr/eval_context.ts";
import type { IntEval } from "../expr/evaluate.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";
import { type Place, placeOf } from "./print_place.ts";

const COMMA = 0x2c;
const MINUS = 0x2d;

/** __print_hex(buffer, length): two digits a byte. Throws ExprError. */
export function hexPiece(compiler: PieceCompiler, node: CallNode, delimiter: string): PrintPiece {
  const [bufferNode, lengthNode] = expectArgs(compiler, node, 2);
  const place = placeOf(compiler, bufferNode!);
  const length = compiler.number(lengthNode!).evaluate;
  return (c, out) => {
    const count = readCount(length, c);
    place.find(c);
    writeHex(out, c.textBytes, c.textFrom, Math.min(c.textTo, c.textFrom + count), delimiter);
  };
}

/** Bytes in hexadecimal with a delimiter of at most one character in between. */
export function writeHex(
  out: ByteWriter,
  bytes: Uint8Array,
  from: number,
  to: number,
  delimiter: string,
): void {
  for (let at = from; at < to; at++) {
    if (at > from && delimiter !== "") out.ascii(delimiter);
    out.hexByte(bytes[at]!);
  }
}

/** __print_array(buffer, count, element bytes): {0x1,0x2}. Throws ExprError. */
export function arrayPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [bufferNode, countNode, sizeNode] = expectArgs(compiler, node, 3);
  const place = placeOf(compiler, bufferNode!);
  const count = compiler.number(countNode!).evaluate;
  const size = compiler.number(sizeNode!).evaluate;
  return (c, out) => {
    const elements = readCount(count, c);
    const elementBytes = readCount(size, c);
    place.find(c);
    writeArray(c, out, elements, elementBytes);
  };
}

/** __print_dynamic_array(field, element bytes): the whole array. Throws ExprError. */
export function dynamicArrayPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [fieldNode, sizeNode] = expectArgs(compiler, node, 2);
  const place = placeOf(compiler, fieldNode!);
  const size = compiler.number(sizeNode!).evaluate;
  return (c, out) => {
    const elementBytes = readCount(size, c);
    place.find(c);
    const elements = Math.floor((c.textTo - c.textFrom) / Math.max(1, elementBytes));
    writeArray(c, out, elements, elementBytes);
  };
}

/** The elements that lie in the record, in braces. */
function writeArray(c: EvalContext, out: ByteWriter, count: number, elementBytes: number): void {
  const isKnown =
    elementBytes === 1 || elementBytes === 2 || elementBytes === 4 || elementBytes === 8;
  const step = isKnown ? elementBytes : 1;
  const end = Math.min(c.textTo - step, c.textFrom + (count - 1) * step);
  out.u8(0x7b);
  for (let at = c.textFrom; at <= end; at += step) {
    if (at > c.textFrom) out.u8(COMMA);
    if (!isKnown) {
      out.ascii("BAD SIZE:");
      out.dec(elementBytes);
      out.u8(0x20);
    }
    out.ascii("0x");
    writeElement(c, out, at, step);
  }
  out.u8(0x7d);
}

function writeElement(c: EvalContext, out: ByteWriter, at: number, bytes: number): void {
  if (bytes === 8) out.hex64(c.view.getUint32(at, true), c.view.getUint32(at + 4, true));
  else if (bytes === 4) out.hex64(c.view.getUint32(at, true), 0);
  else if (bytes === 2) out.hex64(c.view.getUint16(at, true), 0);
  else out.hex64(c.view.getUint8(at), 0);
}

/** __get_bitmask(field) as hexadecimal words, __get_cpumask(field) as ranges. Throws ExprError. */
export function maskPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [fieldNode] = expectArgs(compiler, node, 1);
  const place = placeOf(compiler, fieldNode!);
  const isList = node.name.endsWith("cpumask");
  return (c, out) => {
    place.find(c);
    if (isList) writeBitList(out, c.textBytes, c.textFrom, c.textTo);
    else writeBitmask(out, c.textBytes, c.textFrom, c.textTo);
  };
}

/** From the top byte down, with a comma every 32 bits counted from the bottom: "3,ffffffff". */
export function writeBitmask(out: ByteWriter, bytes: Uint8Array, from: number, to: number): void {
  for (let at = to - 1; at >= from; at--) {
    out.hexByte(bytes[at]!);
    if (at > from && ((at - from) & 3) === 0) out.u8(COMMA);
  }
}

/** Set bits as ranges: "0-3,8". */
export function writeBitList(out: ByteWriter, bytes: Uint8Array, from: number, to: number): void {
  const bits = (to - from) * 8;
  let isFirst = true;
  let start = -1;
  for (let bit = 0; bit <= bits; bit++) {
    const isSet = bit < bits && (bytes[from + (bit >> 3)]! & (1 << (bit & 7))) !== 0;
    if (isSet && start < 0) start = bit;
    if (isSet || start < 0) continue;
    if (!isFirst) out.u8(COMMA);
    isFirst = false;
    out.dec(start);
    if (bit - 1 > start) {
      out.u8(MINUS);
      out.dec(bit - 1);
    }
    start = -1;
  }
}

/** A count as the kernel means it: an int; what is negative or huge is cut later, by the record. */
function readCount(evaluate: IntEval, c: EvalContext): number {
  const lo = evaluate(c);
  return c.hi === 0 && lo >= 0 ? lo : 0;
}

function expectArgs(compiler: PieceCompiler, node: CallNode, count: number): readonly ExprNode[] {
  if (node.args.length === count) return node.args;
  return compiler.fail(`${node.name}() takes ${count} arguments`, node);
}

/** Kept apart for %*pb, whose width is the number of bits. */
export function bitsPiece(place: Place, bits: IntEval | number, isList: boolean): PrintPiece {
  return (c, out) => {
    const count = typeof bits === "number" ? bits : readCount(bits, c);
    place.find(c);
    const to = Math.min(c.textTo, c.textFrom + Math.ceil(count / 8));
    if (isList) writeBitList(out, c.textBytes, c.textFrom, to);
    else writeBitmask(out, c.textBytes, c.textFrom, to);
  };
}
