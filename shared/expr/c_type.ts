// C types as expressions name them, on a 64-bit kernel: casts, sizeof, and the elements of arrays.
//
//   u8   unsigned long long   pid_t   void *   struct sock *   const char *
//
// Only what matters to arithmetic is kept: width, sign, and whether it is a pointer (and to what).

/** An integer type, or a pointer to one. */
export interface CType {
  readonly bits: 8 | 16 | 32 | 64;
  readonly isSigned: boolean;
  /**
   * How many `*`; a pointer itself is 64 bits, unsigned, and `bits` tells what the last one is to.
   */
  readonly pointers: number;
  /** False for struct, union, enum and void: the width is not known. */
  readonly isKnown: boolean;
}

function integer(bits: 8 | 16 | 32 | 64, isSigned: boolean): CType {
  return { bits, isSigned, pointers: 0, isKnown: true };
}

export const S64 = integer(64, true);
export const U64 = integer(64, false);
export const U8 = integer(8, false);
/** A type whose width is not known here: a cast to it changes nothing. */
export const OPAQUE: CType = { bits: 64, isSigned: false, pointers: 0, isKnown: false };

/** Words that can only be part of a type. */
const KEYWORDS: ReadonlySet<string> = new Set(
  [
    "void char short int long signed unsigned struct union enum _Bool bool",
    "const volatile __user __iomem __percpu __rcu",
  ].flatMap((words) => words.split(" ")),
);

const QUALIFIERS: ReadonlySet<string> = new Set(
  "const volatile __user __iomem __percpu __rcu __seg_gs".split(" "),
);

/** typedefs, by width; u and s prefixes as the kernel has them. */
const TYPEDEFS: ReadonlyMap<string, CType> = new Map([
  ...names(integer(8, false), "u8 __u8 uint8_t u_char unchar"),
  ...names(integer(8, true), "s8 __s8 int8_t"),
  ...names(integer(16, false), "u16 __u16 uint16_t __le16 __be16 umode_t u_short ushort __sum16"),
  ...names(integer(16, true), "s16 __s16 int16_t"),
  ...names(
    integer(32, false),
    "u32 __u32 uint32_t __le32 __be32 uint u_int dev_t gfp_t uid_t gid_t blk_opf_t __wsum " +
      "fmode_t nlink_t tid_t __poll_t blk_status_t",
  ),
  ...names(integer(32, true), "s32 __s32 int32_t pid_t clockid_t key_serial_t time32_t"),
  ...names(
    integer(64, false),
    "u64 __u64 uint64_t __le64 __be64 size_t sector_t blkcnt_t ino_t ulong u_long uintptr_t " +
      "dma_addr_t phys_addr_t resource_size_t pgoff_t gpa_t gfn_t gva_t hpa_t hva_t kvm_pfn_t " +
      "cputime_t aio_context_t netdev_features_t",
  ),
  ...names(
    integer(64, true),
    "s64 __s64 int64_t ssize_t loff_t off_t ktime_t intptr_t ptrdiff_t time64_t",
  ),
]);

function names(type: CType, list: string): [string, CType][] {
  return list.split(" ").map((name) => [name, type]);
}

/** Whether a type may begin with this word. */
export function isTypeWord(word: string): boolean {
  return KEYWORDS.has(word) || QUALIFIERS.has(word) || TYPEDEFS.has(word);
}

/** The type that these words and stars name, or undefined when they name none. */
export function typeFromWords(words: readonly string[], pointers: number): CType | undefined {
  const base = baseType(words.filter((word) => !QUALIFIERS.has(word)));
  return base === undefined ? undefined : { ...base, pointers };
}

function baseType(words: readonly string[]): CType | undefined {
  const first = words[0];
  if (first === undefined) return undefined;
  if (first === "struct" || first === "union" || first === "enum") {
    if (words.length !== 2) return undefined;
    return first === "enum" ? { ...integer(32, true), isKnown: false } : OPAQUE;
  }
  if (first === "void") return words.length === 1 ? { ...U8, isKnown: false } : undefined;
  if (first === "bool" || first === "_Bool") return words.length === 1 ? U8 : undefined;
  const typedef = TYPEDEFS.get(first);
  if (typedef !== undefined) return words.length === 1 ? typedef : undefined;
  return basicType(words);
}

/** char, short, int, long in any legal order with signed and unsigned. */
function basicType(words: readonly string[]): CType | undefined {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const count = (word: string) => counts.get(word) ?? 0;
  const known = ["char", "short", "int", "long", "signed", "unsigned"];
  const total = known.reduce((sum, word) => sum + count(word), 0);
  const isValid =
    total === words.length &&
    count("int") <= 1 &&
    count("char") <= 1 &&
    count("short") <= 1 &&
    count("long") <= 2 &&
    count("signed") + count("unsigned") <= 1 &&
    (count("char") > 0 ? count("int") + count("short") + count("long") === 0 : true) &&
    (count("short") > 0 ? count("long") === 0 : true);
  if (!isValid) return undefined;
  const isSigned = count("unsigned") === 0;
  // The kernel is built with -funsigned-char since 6.2; before, char was signed on x86.
  if (count("char") > 0) return integer(8, count("signed") > 0);
  if (count("short") > 0) return integer(16, isSigned);
  return integer(count("long") > 0 ? 64 : 32, isSigned);
}
