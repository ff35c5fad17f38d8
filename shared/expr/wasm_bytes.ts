// The few WebAssembly encodings that key programs need (WebAssembly core specification, chapter 5).

/** Value types and the empty block type. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const VOID_BLOCK = 0x40;

/** Opcodes, by the names of the text format. */
export const OP = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  drop: 0x1a,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  i32Load: 0x28,
  i64Load: 0x29,
  i32Load16U: 0x2f,
  i64Load8S: 0x30,
  i64Load8U: 0x31,
  i64Load16S: 0x32,
  i64Load16U: 0x33,
  i64Load32S: 0x34,
  i64Load32U: 0x35,
  i64Store: 0x37,
  i32Store16: 0x3b,
  i64Store8: 0x3c,
  i32Const: 0x41,
  i64Const: 0x42,
  i32Eqz: 0x45,
  i32Ne: 0x47,
  i32LtU: 0x49,
  i32GeU: 0x4f,
  i64Eqz: 0x50,
  i64Eq: 0x51,
  i64Ne: 0x52,
  i64LtS: 0x53,
  i64LtU: 0x54,
  i64GtS: 0x55,
  i64GtU: 0x56,
  i64LeS: 0x57,
  i64LeU: 0x58,
  i64GeS: 0x59,
  i64GeU: 0x5a,
  i32Add: 0x6a,
  i32And: 0x71,
  i32Or: 0x72,
  i32Shl: 0x74,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64DivS: 0x7f,
  i64DivU: 0x80,
  i64RemS: 0x81,
  i64RemU: 0x82,
  i64And: 0x83,
  i64Or: 0x84,
  i64Xor: 0x85,
  i64Shl: 0x86,
  i64ShrS: 0x87,
  i64ShrU: 0x88,
  i32WrapI64: 0xa7,
  i64ExtendI32U: 0xad,
  i64Extend8S: 0xc2,
  i64Extend16S: 0xc3,
  i64Extend32S: 0xc4,
} as const;

/** Unsigned LEB128. */
export function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

/** Signed LEB128 of a 64-bit (or narrower) integer. */
export function signedLeb(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const isLast = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(isLast ? low : low | 0x80);
    if (isLast) return bytes;
  }
}

/** A name: its length and its ASCII bytes. */
export function wasmName(text: string): number[] {
  return [...leb(text.length), ...Array.from(text, (char) => char.charCodeAt(0))];
}

/** A section: id, size, contents. */
export function section(id: number, contents: readonly number[]): number[] {
  return [id, ...leb(contents.length), ...contents];
}

/** The bytes of one function body, and its locals. */
export class CodeWriter {
  readonly #bytes: number[] = [];
  readonly #localTypes: number[] = [];
  readonly #parameterCount: number;

  constructor(parameterCount: number) {
    this.#parameterCount = parameterCount;
  }

  /** A new local; returns its index. */
  local(type: number): number {
    this.#localTypes.push(type);
    return this.#parameterCount + this.#localTypes.length - 1;
  }

  /** Opcodes and operand bytes as they are. */
  emit(...bytes: number[]): void {
    this.#bytes.push(...bytes);
  }

  get(local: number): void {
    this.emit(OP.localGet, ...leb(local));
  }

  set(local: number): void {
    this.emit(OP.localSet, ...leb(local));
  }

  tee(local: number): void {
    this.emit(OP.localTee, ...leb(local));
  }

  i32(value: number): void {
    this.emit(OP.i32Const, ...signedLeb(BigInt(value | 0)));
  }

  i64(value: bigint): void {
    this.emit(OP.i64Const, ...signedLeb(BigInt.asIntN(64, value)));
  }

  /** A load or store at the address on the stack plus `offset`; alignment 0 promises nothing. */
  memory(opcode: number, offset: number): void {
    this.emit(opcode, 0, ...leb(offset));
  }

  /** global += 1 */
  count(global: number): void {
    this.emit(OP.globalGet, ...leb(global));
    this.i32(1);
    this.emit(OP.i32Add, OP.globalSet, ...leb(global));
  }

  /** On the i32 on the stack: what `yes` leaves, or `no`, an i64. */
  ifElse(yes: () => void, no: () => void): void {
    this.emit(OP.if, I64);
    yes();
    this.emit(OP.else);
    no();
    this.emit(OP.end);
  }

  /** The body as the code section holds it: size, locals, instructions, end. */
  finish(): number[] {
    const locals = this.#localTypes.flatMap((type) => [1, type]);
    const body = [...leb(this.#localTypes.length), ...locals, ...this.#bytes, OP.end];
    return [...leb(body.length), ...body];
  }
}
