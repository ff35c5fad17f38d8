// Tracepoint formats: the text of /sys/kernel/tracing/events/SYSTEM/NAME/format as a typed value.
//
//   name: irq_handler_entry
//   ID: 225
//   format:
//   	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
//   	...
//   	field:int common_pid;	offset:4;	size:4;	signed:1;
//
//   	field:int irq;	offset:8;	size:4;	signed:1;
//   	field:__data_loc char[] name;	offset:12;	size:4;	signed:0;
//
//   print fmt: "irq=%d name=%s", REC->irq, __get_str(name)
//
// Guests send these texts, so the parser takes any bytes: the result is an EventFormat or a
// FormatError, in time linear in the length. It promises that every field lies within
// RECORD_BYTES_MAX; it does not promise that a record is as long as its format says (readers
// check).

import { printableAscii } from "../text/printable_ascii.ts";

/** The longest format text taken; the longest on a 6.18 kernel has 5.5 kB. */
export const FORMAT_BYTES_MAX = 64 * 1024;
/** Fields of one event; the most on a 6.18 kernel is 24. */
export const FORMAT_FIELDS_MAX = 512;
/** Characters of one field declaration. */
export const FIELD_DECLARATION_MAX = 512;
/** perf and ftrace records hold at most 64 KiB: u16 offsets in __data_loc. */
export const RECORD_BYTES_MAX = 65536;
/** common_type is a u16. */
export const EVENT_ID_MAX = 65535;
/** Characters of an event, system or field name. */
export const NAME_MAX = 128;

/** A format text that cannot be read; `line` counts from 1, 0 when it is about the whole. */
export class FormatError extends SyntaxError {
  override readonly name = "FormatError";
  readonly line: number;
  constructor(detail: string, line = 0) {
    super(
      line > 0
        ? `Cannot parse event format: line ${line}: ${detail}`
        : `Cannot parse event format: ${detail}`,
    );
    this.line = line;
  }
}

/** One field of a record, as its kernel declares it. */
export interface FormatField {
  readonly name: string;
  /**
   * The declared type without the name: "unsigned long[6]", "__data_loc char[]", "const char *".
   */
  readonly type: string;
  readonly offsetBytes: number;
  /** Bytes in the fixed part of the record (4 for __data_loc; 0 for a trailing `buf[]`). */
  readonly sizeBytes: number;
  readonly isSigned: boolean;
  /** One of the fields that all events have (common_type, common_pid, ...). */
  readonly isCommon: boolean;
  readonly isPointer: boolean;
  /** Declared with brackets. */
  readonly isArray: boolean;
  /** Elements of a fixed array, 0 for `[]` and where the length is not a number. */
  readonly arrayLength: number;
  /** Bytes of one element of an array, else sizeBytes. */
  readonly elementBytes: number;
  /** An array of char, u8 or s8 (libtraceevent's rule for "may be text"). */
  readonly isString: boolean;
  /** __data_loc or __rel_loc: the field holds u16 offset, u16 length of bytes elsewhere. */
  readonly isDynamic: boolean;
  /** __rel_loc: the offset counts from the end of this field. */
  readonly isRelative: boolean;
  /** The type names a `long` (libtraceevent prints those in hex when the format is not usable). */
  readonly isLong: boolean;
}

/** The parsed format of one event. */
export interface EventFormat {
  /** "irq"; the format text does not say it. */
  readonly system: string;
  readonly name: string;
  /** common_type of its records. */
  readonly id: number;
  readonly commonFields: readonly FormatField[];
  /** The event's own fields, in the order of the text. */
  readonly fields: readonly FormatField[];
  /** All fields by name; an event's own field wins over a common one. */
  readonly fieldByName: ReadonlyMap<string, FormatField>;
  /** Where the last fixed field ends: a shorter record was cut. */
  readonly fixedBytes: number;
  /** The text behind "print fmt:", trimmed: `"irq=%d", REC->irq`; empty when there is none. */
  readonly printFormat: string;
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;
const EVENT_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:-]*$/;

/** Parses one format text. Throws FormatError. */
export function parseFormat(text: string, system = ""): EventFormat {
  if (text.length > FORMAT_BYTES_MAX) {
    throw new FormatError(`text has ${text.length} characters, limit is ${FORMAT_BYTES_MAX}`);
  }
  const printAt = findPrintFormat(text);
  const lines = text.slice(0, printAt < 0 ? text.length : printAt).split("\n");
  const name = readHeader(lines, 0, "name:");
  if (name.length > NAME_MAX || !EVENT_NAME.test(name)) throw new FormatError("bad event name", 1);
  const id = readNumber(readHeader(lines, 1, "ID:"), EVENT_ID_MAX, "event ID", 2);
  if (readHeader(lines, 2, "format:") !== "") throw new FormatError('expected "format:"', 3);
  const { commonFields, fields } = readFields(lines);
  const fieldByName = new Map<string, FormatField>();
  let fixedBytes = 0;
  for (const field of [...commonFields, ...fields]) {
    fieldByName.set(field.name, field);
    fixedBytes = Math.max(fixedBytes, field.offsetBytes + field.sizeBytes);
  }
  const printFormat = printAt < 0 ? "" : text.slice(printAt + "print fmt:".length).trim();
  return { system, name, id, commonFields, fields, fieldByName, fixedBytes, printFormat };
}

/** The start of the line "print fmt:", or -1. */
function findPrintFormat(text: string): number {
  if (text.startsWith("print fmt:")) return 0;
  const at = text.indexOf("\nprint fmt:");
  return at < 0 ? -1 : at + 1;
}

function readHeader(lines: readonly string[], index: number, label: string): string {
  const line = lines[index] ?? "";
  if (!line.startsWith(label)) throw new FormatError(`expected "${label}"`, index + 1);
  return line.slice(label.length).trim();
}

function readNumber(text: string, max: number, what: string, line: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= max)) {
    throw new FormatError(`${what} is "${clip(text)}", wanted a number up to ${max}`, line);
  }
  return value;
}

/** Fields up to the first empty line are common to all events; the rest are the event's own. */
function readFields(lines: readonly string[]): {
  commonFields: FormatField[];
  fields: FormatField[];
} {
  const commonFields: FormatField[] = [];
  const fields: FormatField[] = [];
  let isCommon = true;
  for (let index = 3; index < lines.length; index++) {
    const line = lines[index]!.trim();
    if (line === "") {
      if (commonFields.length > 0) isCommon = false;
      continue;
    }
    if (commonFields.length + fields.length >= FORMAT_FIELDS_MAX) {
      throw new FormatError(`more than ${FORMAT_FIELDS_MAX} fields`, index + 1);
    }
    (isCommon ? commonFields : fields).push(parseFieldLine(line, isCommon, index + 1));
  }
  return { commonFields, fields };
}

/** `field:int irq;	offset:8;	size:4;	signed:1;` (kernels before 2.6.32 leave out signed). */
function parseFieldLine(text: string, isCommon: boolean, line: number): FormatField {
  const parts = text.split(";");
  const declaration = partAfter(parts[0], "field:", line);
  const offsetBytes = readNumber(
    partAfter(parts[1], "offset:", line),
    RECORD_BYTES_MAX,
    "field offset",
    line,
  );
  const sizeBytes = readNumber(
    partAfter(parts[2], "size:", line),
    RECORD_BYTES_MAX,
    "field size",
    line,
  );
  if (offsetBytes + sizeBytes > RECORD_BYTES_MAX) {
    throw new FormatError(`field ends at ${offsetBytes + sizeBytes}, limit is ${RECORD_BYTES_MAX}`);
  }
  const signText = (parts[3] ?? "").trim();
  const isSigned = signText !== "" && partAfter(signText, "signed:", line) !== "0";
  return makeField(declaration, offsetBytes, sizeBytes, isSigned, isCommon, line);
}

function partAfter(part: string | undefined, label: string, line: number): string {
  const text = (part ?? "").trim();
  if (!text.startsWith(label)) {
    throw new FormatError(`expected "${label}", found "${clip(text)}"`, line);
  }
  return text.slice(label.length).trim();
}

function makeField(
  declaration: string,
  offsetBytes: number,
  sizeBytes: number,
  isSigned: boolean,
  isCommon: boolean,
  line: number,
): FormatField {
  const { name, baseType, brackets } = splitDeclaration(declaration, line);
  const type = baseType + brackets;
  const isArray = type.includes("[");
  const isRelative = type.startsWith("__rel_loc");
  const isDynamic = isRelative || type.startsWith("__data_loc");
  // Readers take so many bytes, and find a record too short by the size.
  if (isDynamic && sizeBytes !== 4 && sizeBytes !== 2) {
    throw new FormatError(`size of a dynamic field is ${sizeBytes}, wanted 4`, line);
  }
  const isTextElement = /char|u8|s8/.test(type);
  // Before dynamic arrays (2.6.3x), a __data_loc of two bytes was the offset of a string.
  const isOldString = isDynamic && sizeBytes === 2;
  const isString = (isArray && isTextElement) || isOldString;
  const isLong = type.includes("long");
  const arrayLength = isArray && !isDynamic ? lastNumber(type) : 0;
  let elementBytes = sizeBytes;
  if (isArray || isDynamic) {
    elementBytes = elementSize(type, sizeBytes, arrayLength, isDynamic, isString, isLong);
  }
  return {
    name,
    type,
    offsetBytes,
    sizeBytes,
    isSigned,
    isCommon,
    isPointer: baseType.includes("*"),
    isArray: isArray || isOldString,
    arrayLength,
    elementBytes,
    isString,
    isDynamic,
    isRelative,
    isLong,
  };
}

/** Splits "unsigned long args[6]" into type, name and brackets; the name is the last word. */
function splitDeclaration(
  declaration: string,
  line: number,
): { name: string; baseType: string; brackets: string } {
  if (declaration.length > FIELD_DECLARATION_MAX) {
    throw new FormatError(`declaration is longer than ${FIELD_DECLARATION_MAX} characters`, line);
  }
  let rest = declaration.trimEnd();
  let brackets = "";
  if (rest.endsWith("]")) {
    const open = rest.lastIndexOf("[");
    if (open < 0) throw new FormatError(`unmatched "]" in "${clip(declaration)}"`, line);
    brackets = rest.slice(open);
    rest = rest.slice(0, open).trimEnd();
  }
  let start = rest.length;
  while (start > 0 && isWordCode(rest.charCodeAt(start - 1))) start--;
  const name = rest.slice(start);
  const baseType = rest.slice(0, start).trimEnd();
  if (name.length > NAME_MAX || !IDENTIFIER.test(name)) {
    throw new FormatError(`no field name in "${clip(declaration)}"`, line);
  }
  if (baseType === "") throw new FormatError(`no type in "${clip(declaration)}"`, line);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be in a type
  if (/[\x00-\x1f\x7f-\uffff]/.test(baseType + brackets)) {
    throw new FormatError("a control or non-ASCII character in a type", line);
  }
  return { name, baseType, brackets };
}

function isWordCode(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x61 && code <= 0x7a) ||
    code === 0x5f
  );
}

/** The array length: "[6]" is 6; "[]" and "[TASK_COMM_LEN]" are 0. */
function lastNumber(type: string): number {
  const inside = type.slice(type.lastIndexOf("[") + 1, type.lastIndexOf("]")).trim();
  return /^\d{1,6}$/.test(inside) ? Number(inside) : 0;
}

/** Bytes of one array element; 8 when nothing tells (long of the only machines that we know). */
function elementSize(
  type: string,
  sizeBytes: number,
  arrayLength: number,
  isDynamic: boolean,
  isString: boolean,
  isLong: boolean,
): number {
  if (arrayLength > 0) return Math.floor(sizeBytes / arrayLength);
  if (isDynamic) return namedTypeBytes(type.replace(/^__(?:data|rel)_loc\s*/, ""));
  if (isString) return 1;
  if (isLong) return 8;
  return namedTypeBytes(type);
}

const TYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ["char", 1],
  ["signed char", 1],
  ["unsigned char", 1],
  ["bool", 1],
  ["u8", 1],
  ["s8", 1],
  ["__u8", 1],
  ["__s8", 1],
  ["uint8_t", 1],
  ["int8_t", 1],
  ["short", 2],
  ["unsigned short", 2],
  ["u16", 2],
  ["s16", 2],
  ["__u16", 2],
  ["__s16", 2],
  ["__le16", 2],
  ["__be16", 2],
  ["uint16_t", 2],
  ["int16_t", 2],
  ["int", 4],
  ["unsigned int", 4],
  ["unsigned", 4],
  ["u32", 4],
  ["s32", 4],
  ["__u32", 4],
  ["__s32", 4],
  ["__le32", 4],
  ["__be32", 4],
  ["uint32_t", 4],
  ["int32_t", 4],
  ["long", 8],
  ["unsigned long", 8],
  ["long long", 8],
  ["unsigned long long", 8],
  ["u64", 8],
  ["s64", 8],
  ["__u64", 8],
  ["__s64", 8],
  ["__le64", 8],
  ["__be64", 8],
  ["uint64_t", 8],
  ["int64_t", 8],
  ["size_t", 8],
  ["ssize_t", 8],
  ["pteval_t", 8],
  ["pmdval_t", 8],
  ["pudval_t", 8],
  ["p4dval_t", 8],
  ["pgdval_t", 8],
]);

/** sizeof a C type by name on a 64-bit kernel ("u64[]" counts as u64); 0 when it is not known. */
export function namedTypeBytes(type: string): number {
  const base = type
    .replace(/\[.*$/, "")
    .replace(/\bconst\b/g, "")
    .replace(/\s+/g, " ")
    .trim();
  if (base.endsWith("*")) return 8;
  return TYPE_BYTES.get(base) ?? 0;
}

/** A piece of hostile text for an error message: short and printable. */
function clip(text: string): string {
  const short = text.length > 40 ? `${text.slice(0, 40)}...` : text;
  return printableAscii(short);
}
