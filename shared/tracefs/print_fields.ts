// field=value pairs: what is printed when a print format cannot be used, as libtraceevent prints
// it.
//
//   ` pid=26027 comm=worker3_1.95 address=0xfee41000 buf=ARRAY[01, 02]`

import type { EvalContext } from "../expr/eval_context.ts";
import { compileLoad } from "../expr/evaluate.ts";
import { integerBytes } from "../expr/typed.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { EventFormat, FormatField } from "./format.ts";
import type { PrintPiece } from "./print_piece.ts";
import { fieldPlace } from "./print_place.ts";

/** A piece for each of the event's own fields: a space, the name, `=` and the value. */
export function fieldPieces(format: EventFormat): PrintPiece[] {
  return format.fields.map((field) => {
    const value = fieldValuePiece(field);
    const name = ` ${field.name}=`;
    return (c, out) => {
      out.ascii(name);
      value(c, out);
    };
  });
}

/** The value of one field. */
export function fieldValuePiece(field: FormatField): PrintPiece {
  if (field.isArray || field.isDynamic) return arrayValuePiece(field);
  const bytes = integerBytes(field.sizeBytes);
  if (bytes === undefined) return arrayValuePiece(field);
  const load = compileLoad(field.offsetBytes, bytes, field.isSigned);
  const write = numberWriter(field);
  return (c, out) => {
    if (field.offsetBytes + bytes > c.rawBytes) {
      out.ascii("?");
      return;
    }
    const lo = load(c);
    write(out, lo, c.hi);
  };
}

type NumberWriter = (out: ByteWriter, lo: number, hi: number) => void;

/** Pointers and longs in hexadecimal: a long usually stores an address. */
function numberWriter(field: FormatField): NumberWriter {
  const isHex = field.isPointer || (field.isLong && (!field.isSigned || field.sizeBytes === 4));
  if (isHex) {
    return (out, lo, hi) => {
      out.ascii("0x");
      out.hex64(lo, field.sizeBytes === 4 ? 0 : hi);
    };
  }
  if (!field.isSigned) return (out, lo, hi) => out.u64(lo, hi);
  if (field.sizeBytes === 2) return (out, lo) => out.decPadded(lo, 2);
  return (out, lo, hi) => out.s64(lo, hi);
}

function arrayValuePiece(field: FormatField): PrintPiece {
  const place = fieldPlace(field);
  return (c: EvalContext, out: ByteWriter) => {
    place.find(c);
    const { textBytes, textFrom, textTo } = c;
    const end = field.isString ? printableEnd(textBytes, textFrom, textTo) : -1;
    if (end >= 0) {
      out.untrusted(textBytes, textFrom, end);
      return;
    }
    out.ascii("ARRAY[");
    for (let at = textFrom; at < textTo; at++) {
      if (at > textFrom) out.ascii(", ");
      out.hexByte(textBytes[at]!);
    }
    out.ascii("]");
  };
}

/** Where printable text ends (NUL or the end of the array), or -1 when it is none. */
function printableEnd(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    if (byte === 0) return at;
    const isSpace = byte === 0x20 || (byte >= 9 && byte <= 13);
    if (!isSpace && (byte < 0x20 || byte > 0x7e)) return -1;
  }
  return to;
}
