// Enum constants of a kernel, by name, out of its BTF (/sys/kernel/btf/vmlinux).
//
// Some print formats name constants that the kernel did not turn into numbers: { I_DIRTY_SYNC,
// "..." }. libtraceevent cannot resolve them; with the BTF of the kernel that the events came from,
// we can:
//
//   const btf = BtfConstants.parse(readFileSync("/sys/kernel/btf/vmlinux"));
//   compilePrintFormat(format, { constants: (name) => btf.lookup(name) });
//
// struct btf_header and struct btf_type as in <linux/btf.h>. The bytes may come from a guest.

/** Bytes of a BTF; a distribution kernel has 6 MB. */
export const BTF_BYTES_MAX = 64 * 1024 * 1024;
/** Constants that are kept; a 6.18 kernel has some 25,000. */
export const BTF_CONSTANTS_MAX = 200_000;
const BTF_NAME_MAX = 256;

const MAGIC = 0xeb9f;
const HEADER_BYTES = 24;
const TYPE_BYTES = 12;

/** BTF kinds, and the bytes behind struct btf_type: fixed ones, and ones per member. */
const KIND_ENUM = 6;
const KIND_ENUM64 = 19;
const EXTRA_BYTES: ReadonlyMap<number, readonly [number, number]> = new Map([
  [1, [4, 0]], // INT
  [2, [0, 0]], // PTR
  [3, [12, 0]], // ARRAY
  [4, [0, 12]], // STRUCT
  [5, [0, 12]], // UNION
  [KIND_ENUM, [0, 8]],
  [7, [0, 0]], // FWD
  [8, [0, 0]], // TYPEDEF
  [9, [0, 0]], // VOLATILE
  [10, [0, 0]], // CONST
  [11, [0, 0]], // RESTRICT
  [12, [0, 0]], // FUNC
  [13, [0, 8]], // FUNC_PROTO
  [14, [4, 0]], // VAR
  [15, [0, 12]], // DATASEC
  [16, [0, 0]], // FLOAT
  [17, [4, 0]], // DECL_TAG
  [18, [0, 0]], // TYPE_TAG
  [KIND_ENUM64, [0, 12]],
]);

/** A BTF that cannot be read. */
export class BtfError extends RangeError {
  override readonly name = "BtfError";
  constructor(detail: string) {
    super(`Cannot read BTF: ${detail}`);
  }
}

/** The enum constants of one kernel. */
export class BtfConstants {
  readonly #values = new Map<string, bigint>();

  /** Throws BtfError. */
  static parse(bytes: Uint8Array): BtfConstants {
    if (bytes.length > BTF_BYTES_MAX) {
      throw new BtfError(`${bytes.length} bytes, limit is ${BTF_BYTES_MAX}`);
    }
    const constants = new BtfConstants();
    constants.#read(bytes);
    return constants;
  }

  get count(): number {
    return this.#values.size;
  }

  /** The value of an enum constant; of two with one name the first. */
  lookup(name: string): bigint | undefined {
    return this.#values.get(name);
  }

  #read(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER_BYTES || view.getUint16(0, true) !== MAGIC) {
      throw new BtfError("no little-endian BTF header");
    }
    const header = view.getUint32(4, true);
    const typesFrom = header + view.getUint32(8, true);
    const typesTo = typesFrom + view.getUint32(12, true);
    const stringsFrom = header + view.getUint32(16, true);
    const stringsTo = stringsFrom + view.getUint32(20, true);
    if (typesTo > bytes.length || stringsTo > bytes.length) throw new BtfError("it is cut off");
    const nameAt = (offset: number): string => readName(bytes, stringsFrom + offset, stringsTo);
    let at = typesFrom;
    while (at + TYPE_BYTES <= typesTo) {
      const info = view.getUint32(at + 4, true);
      const kind = (info >>> 24) & 0x1f;
      const members = info & 0xffff;
      const extra = EXTRA_BYTES.get(kind);
      // The size of a kind that is not known is not known either: what follows cannot be found.
      if (extra === undefined) throw new BtfError(`unknown kind ${kind}`);
      const next = at + TYPE_BYTES + extra[0] + members * extra[1];
      if (next > typesTo) throw new BtfError("a type is cut off");
      const isSigned = info >>> 31 !== 0;
      for (let i = 0; i < members && kind === KIND_ENUM; i++) {
        const member = at + TYPE_BYTES + i * 8;
        const value = isSigned ? view.getInt32(member + 4, true) : view.getUint32(member + 4, true);
        this.#add(nameAt(view.getUint32(member, true)), BigInt(value));
      }
      for (let i = 0; i < members && kind === KIND_ENUM64; i++) {
        const member = at + TYPE_BYTES + i * 12;
        const value = view.getBigUint64(member + 4, true);
        this.#add(
          nameAt(view.getUint32(member, true)),
          isSigned ? BigInt.asIntN(64, value) : value,
        );
      }
      at = next;
    }
  }

  #add(name: string, value: bigint): void {
    if (name === "" || this.#values.size >= BTF_CONSTANTS_MAX || this.#values.has(name)) return;
    this.#values.set(name, value);
  }
}

function readName(bytes: Uint8Array, from: number, limit: number): string {
  const to = Math.min(limit, from + BTF_NAME_MAX);
  let text = "";
  for (let at = from; at < to && bytes[at] !== 0; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}
