// Where our print formats differ from libtraceevent's on purpose: what the kernel itself prints, or
// what C says, is on our side. The differential tests count these apart and fail on anything else.

/** One kind of difference. */
export interface Explanation {
  readonly reason: string;
  /** Explains nothing that a kernel recorded. */
  readonly isMadeUp?: boolean;
  /** Whether this pair of texts of this event differs for that reason. */
  explains(event: string, ours: string, theirs: string): boolean;
}

/** The texts of these events are the same once `mask` is blanked in both. */
function inPart(reason: string, events: RegExp, mask: RegExp): Explanation {
  const blank = (text: string): string => comparable(text).replace(mask, "~").replace(/~+/g, "~");
  return {
    reason,
    explains: (event, ours, theirs) => events.test(event) && blank(ours) === blank(theirs),
  };
}

/** Values that no kernel records, in made-up records of these events. */
function madeUp(reason: string, events: RegExp): Explanation {
  return { reason, isMadeUp: true, explains: (event) => events.test(event) };
}

const NUMBER = /-?\d+/g;

export const EXPLANATIONS: readonly Explanation[] = [
  {
    reason: "libtraceevent cannot parse the format",
    explains: (_event, _ours, theirs) => theirs.startsWith("[FAILED TO PARSE]"),
  },
  {
    reason: "libtraceevent crashed",
    isMadeUp: true,
    explains: (_event, _ours, theirs) => theirs === "<none>",
  },
  {
    reason: "libtraceevent has no %c (before 1.8), and no %*pbl",
    explains: (_event, _ours, theirs) => theirs.includes(">c<") || theirs.includes("(nil)bl"),
  },
  {
    reason: "libtraceevent prints %.*s itself when the precision is negative",
    explains: (_event, _ours, theirs) => theirs.includes("%.*s"),
  },
  inPart(
    "libtraceevent counts names without a value as 0, so that they match where they must not",
    /^(btrfs:|fs_dax:|writeback:(writeback_(mark|dirty|single|write|lazytime)|sb_))/,
    /\b(state|flags|(clear|set)_bits)([ =])([A-Z0-9_|]|0x[0-9a-f]+)*(?= |$)|\(([A-Z_]+|0x[0-9a-f]+|-)\)|(?: [A-Z|]+)?$/g,
  ),
  inPart(
    "libtraceevent reads `flags & (A | B)` of casts and parentheses wrongly: a constant result",
    /^(timer:timer_start|spi:spi_setup)$/,
    /flags=\S*$|(?<=setup mode )\d/,
  ),
  inPart(
    "libtraceevent compares, divides and shifts signed numbers as unsigned ones",
    /^(kvm:kvm_userspace_exit|kvm:kvm_wait_lapic_expire|sock:sock_(recv|send)_length|timer:itimer_state|kvm:kvm_pvclock_update)$/,
    /-?\b\d+\b|(?<=reason )\S+ \(-?\d+\)/g,
  ),
  inPart(
    "libtraceevent groups operators of the same rank from the right: a - b + 1 as a - (b + 1)",
    /^(btrfs:raid56_(read|write).*|kmem:mm_page_alloc_extfrag)$/,
    NUMBER,
  ),
  inPart("libtraceevent does not pad a value without a name (%-8s)", /^(compaction|oom):/, /\s+/g),
  inPart("libtraceevent cannot hold a flag in bit 63", /^xfs:xfs_exch(maps|range)_/, /flags \S*/g),
  inPart(
    "libtraceevent cannot hold a flag in bit 63",
    /^fs_dax:dax_pmd_insert_mapping/,
    /pfn \S+ [^ ]* /g,
  ),
  inPart("libtraceevent does not extend the sign of 16 bits", /^smbus:smbus_result$/, /res=-?\d+/g),
  inPart("libtraceevent (before 1.7) takes %zx for an int", /^xfs:/, /bytecount 0x(f{8})*/g),
  {
    reason: "libtraceevent does not take what is no field: a cast, say",
    explains: (_event, _ours, theirs) => theirs.includes("[ARG TYPE NOT FIELD BUT"),
  },
  {
    reason: "libtraceevent has the kernel's trace_printk() formats, which records do not hold",
    explains: (event, _ours, theirs) =>
      event === "ftrace:bprint" && theirs.includes("(NO FORMAT FOUND"),
  },
  madeUp(
    "made-up lengths beyond the array: libtraceevent reads on, we stop at its end",
    /^(kvm:kvm_emulate_insn|neigh:|ras:|regmap:regmap_bulk_)/,
  ),
  madeUp(
    "__print_array: {0x1,0x2} in the kernel and here, 1 2 in libtraceevent",
    /^thermal_power_allocator:/,
  ),
  madeUp(
    "made-up shift counts of 64 and more: 0 here, the count modulo 64 on x86",
    /^(alarmtimer:|ext4:ext4_mballoc_alloc|compaction:|ras:mc_event)/,
  ),
];

/** What differs between us and the kernel itself: what only it can know, or what perf decides. */
export const KERNEL_EXPLANATIONS: readonly Explanation[] = [
  inPart(
    "addresses of pages count from vmemmap_base, a variable of the kernel",
    /^(kmem:mm_page_|vmscan:mm_vmscan_write_folio)/,
    /page=\S+/g,
  ),
  inPart("ages count to jiffies, a variable of the kernel", /^writeback:/, /age=\S+/g),
  inPart("jiffies are milliseconds only at HZ=1000", /^jbd2:/, NUMBER),
  inPart(
    "%pS of data: the kernel prints the address, perf and we the symbol before it",
    /^(xfs:|iomap:)/,
    /ops \S+/g,
  ),
];

/**
 * Text with what we escape escaped, and without white space at its ends. A control character is
 * \xNN here, whether we wrote it so or as \n.
 */
export function comparable(text: string): string {
  const escaped = Array.from(text.trim(), (char) => {
    const code = char.charCodeAt(0);
    if (code >= 0x20 && code < 0x7f) return char;
    return `\\x${code.toString(16).padStart(2, "0")}`;
  });
  return escaped.join("").replaceAll("\\n", "\\x0a");
}

/** Of each text that could not be explained. */
const SHOWN_CHARS_MAX = 300;

/** Counts of a comparison, and what could not be explained. */
export class Comparison {
  compared = 0;
  equal = 0;
  readonly explained = new Map<string, number>();
  readonly events = new Set<string>();
  readonly differing = new Set<string>();
  readonly unexplained: string[] = [];
  readonly #explanations: readonly Explanation[];

  /** `isMadeUp`: the records do not come from a kernel. */
  constructor(isMadeUp = false, explanations = EXPLANATIONS) {
    this.#explanations = explanations.filter((entry) => isMadeUp || entry.isMadeUp !== true);
  }

  /** Adds one pair of texts. */
  add(event: string, ours: string, theirs: string): void {
    this.compared++;
    this.events.add(event);
    if (ours === theirs || comparable(ours) === comparable(theirs)) {
      this.equal++;
      return;
    }
    this.differing.add(event);
    const found = this.#explanations.find((entry) => entry.explains(event, ours, theirs));
    if (found === undefined) {
      const [a, b] = [ours, theirs].map((text) => text.slice(0, SHOWN_CHARS_MAX));
      if (this.unexplained.length < 20) this.unexplained.push(`${event}\n  ${a}\n  ${b}`);
      else this.unexplained.push(event);
      return;
    }
    this.explained.set(found.reason, (this.explained.get(found.reason) ?? 0) + 1);
  }

  /** Prints the counts, as the test's record. */
  report(title: string): void {
    const explained = [...this.explained.values()].reduce((sum, count) => sum + count, 0);
    console.log(
      `print formats (${title}): ${this.compared} events of ${this.events.size} kinds compared, ` +
        `${this.equal} equal, ${explained} explained, ${this.unexplained.length} unexplained`,
    );
    for (const [reason, count] of this.explained) console.log(`  ${count} x ${reason}`);
    for (const text of this.unexplained.slice(0, 20)) console.log(`  unexplained: ${text}`);
  }
}
