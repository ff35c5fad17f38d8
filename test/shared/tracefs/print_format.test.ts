import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { type EventFormat, FormatError, parseFormat } from "../../../shared/tracefs/format.ts";
import { KernelStrings } from "../../../shared/tracefs/kernel_strings.ts";
import {
  compilePrintFormat,
  type PrintOptions,
  RENDER_BYTES_MAX,
} from "../../../shared/tracefs/print_format.ts";
import { KallsymsResolver } from "../../../shared/tracefs/symbols.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";

const encode = (text: string) => new TextEncoder().encode(text);

const COMMON = `\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
`;

/** A format of fields "TYPE NAME@OFFSET:SIZE[s]". */
function makeFormat(fields: readonly string[], print: string, name = "demo", system = "test") {
  const lines = fields.map((text) => {
    const match = /^(.*)@(\d+):(\d+)(s?)$/.exec(text)!;
    return `\tfield:${match[1]};\toffset:${match[2]};\tsize:${match[3]};\tsigned:${match[4] === "s" ? 1 : 0};\n`;
  });
  const text = `name: ${name}\nID: 77\nformat:\n${COMMON}\n${lines.join("")}\nprint fmt: ${print}\n`;
  return parseFormat(text, system);
}

function render(format: EventFormat, record: Uint8Array, options: PrintOptions = {}): string {
  const out = new ByteWriter(1 << 18);
  const printer = compilePrintFormat(format, options);
  // Not at the start of the memory, and 4 mod 8, as in a ring.
  const memory = new Uint8Array(record.length + 64).fill(0xee);
  memory.set(record, 12);
  printer.render(out, new DataView(memory.buffer), memory, 12, record.length);
  return out.toString();
}

const FIELDS = [
  "int i@8:4s",
  "unsigned int u@12:4",
  "long l@16:8s",
  "u64 q@24:8",
  "char comm[16]@32:16",
  "unsigned long args[2]@48:16",
  "u8 mac[6]@64:6",
  "__u8 ip4[4]@72:4",
  "__u8 ip6[16]@80:16",
  "__data_loc char[] name@96:4",
  "__data_loc u16[] list@100:4",
  "__data_loc unsigned long[] mask@104:4",
  "__rel_loc char[] tail@108:4",
  "const char * text@112:8",
  "signed char c@120:1s",
  "u8 sa[28]@124:28",
];

function makeRecord(): Uint8Array {
  const record = new Uint8Array(200);
  const view = new DataView(record.buffer);
  view.setInt32(8, -5, true);
  view.setUint32(12, 0xdeadbeef, true);
  view.setBigInt64(16, -7000000000n, true);
  view.setBigUint64(24, 0xfee41000n, true);
  record.set(encode("worker3_1.95"), 32);
  view.setBigUint64(48, 0x7f0780c000e8n, true);
  view.setBigUint64(56, 1n, true);
  record.set([0x52, 0x54, 0, 0x12, 0x34, 0x56], 64);
  record.set([10, 0, 0, 1], 72);
  record.set([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 80);
  view.setUint32(96, 152 | (16 << 16), true);
  record.set(encode("virtio0-input.3"), 152);
  view.setUint32(100, 168 | (6 << 16), true);
  record.set([1, 0, 2, 0, 0xff, 0xff], 168);
  view.setUint32(104, 176 | (8 << 16), true);
  record.set([0x0f, 1, 0, 0, 0, 0, 0, 0], 176);
  view.setUint32(108, (184 - 112) | (4 << 16), true);
  record.set(encode("end"), 184);
  view.setBigUint64(112, 0xffffffff8281942fn, true);
  view.setInt8(120, -3);
  record.set([10, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 124);
  return record;
}

const SYMBOLS = KallsymsResolver.parse(
  encode("00000000fee40000 T do_idle\n00000000fee42000 t next\n"),
);

describe("compilePrintFormat() conversions", () => {
  const record = makeRecord();
  for (const [print, want] of [
    [
      '"i=%d u=%u l=%ld q=%llx", REC->i, REC->u, REC->l, REC->q',
      "i=-5 u=3735928559 l=-7000000000 q=fee41000",
    ],
    [
      '"%u %x %hhd %hu %lu", REC->i, REC->i, REC->u, REC->u, REC->u',
      "4294967291 fffffffb -17 48879 3735928559",
    ],
    [
      '"%08x|%-6d|%6d|%+d|%#x|%#o|%.8d", REC->u, REC->i, REC->i, 5, REC->q, 8, 42',
      "deadbeef|-5    |    -5|+5|0xfee41000|010|00000042",
    ],
    ['"%d %ld", REC->c, (long)REC->i', "-3 -5"],
    [
      '"%s|%-14s|%14s|%.4s|%.*s", REC->comm, REC->comm, REC->comm, REC->comm, 2, REC->comm',
      "worker3_1.95|worker3_1.95  |  worker3_1.95|work|wo",
    ],
    ['"%s %s", __get_str(name), __get_rel_str(tail)', "virtio0-input.3 end"],
    ['"%s", (char *)__get_dynamic_array(name)', "virtio0-input.3"],
    ['"%lx %lx", REC->args[0], REC->args[1]', "7f0780c000e8 1"],
    ['"%d %d", ((u16 *)__get_dynamic_array(list))[1], __get_dynamic_array_len(list)', "2 6"],
    ['"%s", __print_flags(REC->args[1], "|", { 1, "S" }, { 2, "D" })', "S"],
    ['"%s", __print_flags(REC->q, "|", { 0x1000, "A" }, { 0x40000, "B" })', "A|B|0xfee00000"],
    ['"[%s]", __print_flags(0, "|", { 1, "S" })', "[]"],
    [
      '"%s %s", __print_symbolic(REC->i, { -5, "five" }), __print_symbolic(REC->i, { 1, "x" })',
      "five 0xfffffffb",
    ],
    ['"%s", __print_symbolic(REC->args[1], { 0, "a" "b" }, { 1, "c" "d" }, { -1, 0 })', "cd"],
    ['"%s", __print_hex(REC->mac, 6)', "52 54 00 12 34 56"],
    ['"%s", __print_hex_str(__get_dynamic_array(list), 99)', "01000200ffff"],
    [
      '"%s", __print_array(__get_dynamic_array(list), __get_dynamic_array_len(list) / sizeof(u16), sizeof(u16))',
      "{0x1,0x2,0xffff}",
    ],
    [
      '"%s %s", __print_array(REC->args, 2, 8), __print_dynamic_array(list, 2)',
      "{0x7f0780c000e8,0x1} {0x1,0x2,0xffff}",
    ],
    ['"%s %s", __get_bitmask(mask), __get_cpumask(mask)', "00000000,0000010f 0-3,8"],
    [
      '"%*pb %*pbl", 64, __get_dynamic_array(mask), 9, __get_dynamic_array(mask)',
      "00000000,0000010f 0-3,8",
    ],
    [
      '"%pM %pMR %pMF %pm", REC->mac, REC->mac, REC->mac, REC->mac',
      "52:54:00:12:34:56 56:34:12:00:54:52 52-54-00-12-34-56 525400123456",
    ],
    ['"%pI4 %pi4 %pI4h", REC->ip4, REC->ip4, REC->ip4', "10.0.0.1 010.000.000.001 1.0.0.10"],
    [
      '"%pI6c %pI6 %pi6", REC->ip6, REC->ip6, REC->ip6',
      "fe80::1 fe80:0000:0000:0000:0000:0000:0000:0001 fe800000000000000000000000000001",
    ],
    ['"%pISpc %pISc", REC->sa, REC->sa', "[::1]:80 ::1"],
    [
      '"%pUb %pUL", REC->ip6, REC->ip6',
      "fe800000-0000-0000-0000-000000000001 000080FE-0000-0000-0000-000000000001",
    ],
    ['"%pI4 %pM", REC->mac, REC->ip4', "INVALIDIPv4 INVALIDMAC"],
    [
      '"%pS %ps %pS %p %p", REC->q, REC->q, REC->l, REC->q, 0',
      "do_idle+0x1000 do_idle 0xfffffffe5ec47a00 0xfee41000 (nil)",
    ],
    ['"%6phC|%3ph", REC->mac, REC->mac', "52:54:00:12:34:56|52 54 00"],
    ['"%c%c", 65, REC->args[1] + 65', "AB"],
    ['"%d%%", 50', "50%"],
    ['"%s", REC->i < 0 ? "neg" : "pos"', "neg"],
    ['"%s%s", REC->q ? __get_str(name) : "-", 0 ? "x" : ""', "virtio0-input.3"],
    ['"%s", REC->text', "ffffffff8281942f"],
    ['"%d", ({ int x = (REC->i); int y = (128); ((x) < (y) ? (x) : (y)); })', "-5"],
    ['"%d", __builtin_expect(!!(REC->u), 0) ? 1 : 2', "1"],
    ['"%llu.%06llu", __print_ns_to_secs(REC->q), __print_ns_without_secs(REC->q)', "4.276359168"],
    ['"%zu %d", sizeof(REC->comm), sizeof(u64)', "16 8"],
    [
      '"vec=%u [action=%s]", 7, __print_symbolic(7, { HI_SOFTIRQ, "HI" }, { SCHED_SOFTIRQ, "SCHED" })',
      "vec=7 [action=SCHED]",
    ],
    ['"a" "b=%d" "c", 1', "ab=1c"],
    ['"tab\\there\\n"', "tab\there"],
    ['"one\\ntwo"', "one\\ntwo"],
    ['"%d %d", (REC->u >> 31) & 1, REC->i >> 1', "1 -3"],
    ['"%s", mc_event_error_type(1)', "Uncorrected"],
  ] as const) {
    test(print, () => {
      const format = makeFormat(FIELDS, print);
      const printer = compilePrintFormat(format, { symbols: SYMBOLS });
      expect(printer.reason).toBe("");
      expect(render(format, record, { symbols: SYMBOLS })).toBe(want);
    });
  }

  test("strings that records only point at come from printk_formats", () => {
    const strings = KernelStrings.parse(
      '0xffffffff8281942f : "thaw_processes\\n"\nrubbish\n0xffffffff82000000 : "\x1b[2J"\n',
    );
    expect(strings.count).toBe(2);
    const format = makeFormat(FIELDS, '"%s", REC->text');
    expect(render(format, record, { strings })).toBe("thaw_processes");
    expect(new TextDecoder().decode(strings.lookup(0x82000000, 0xffffffff))).toBe("\\x1b[2J");
  });

  test("constants come from the caller, and unknown ones are listed", () => {
    const format = makeFormat(
      FIELDS,
      '"%s %s", __print_symbolic(6, { TCP_X, "X" }), __print_flags(0, "|", { FOO, "foo" })',
    );
    expect(compilePrintFormat(format).unresolved).toEqual(["TCP_X", "FOO"]);
    expect(render(format, record)).toBe("0x6 ");
    const constants = (name: string) => (name === "TCP_X" ? 6n : undefined);
    expect(render(format, record, { constants })).toBe("X ");
  });
});

describe("compilePrintFormat() on kvm's formats", () => {
  test("kvm_msi_set_irq prints as in the spec document", () => {
    const format = makeFormat(
      ["__u64 address@8:8", "__u64 data@16:8"],
      '"dst %llx vec %u (%s|%s|%s%s)", (u8)(REC->address >> 12) | ((REC->address >> 32) & 0xffffff00), (u8)REC->data, __print_symbolic((REC->data >> 8 & 0x7), {0x0, "Fixed"}, {0x1, "LowPrio"}, {0x2, "SMI"}, {0x3, "Res3"}, {0x4, "NMI"}, {0x5, "INIT"}, {0x6, "SIPI"}, {0x7, "ExtINT"}), (REC->address & (1<<2)) ? "logical" : "physical", (REC->data & (1<<15)) ? "level" : "edge", (REC->address & (1<<3)) ? "|rh" : ""',
      "kvm_msi_set_irq",
      "kvm",
    );
    const record = new Uint8Array(24);
    const view = new DataView(record.buffer);
    view.setBigUint64(8, 0xfee65000n, true);
    view.setBigUint64(16, 0x23n, true);
    expect(render(format, record)).toBe("dst 65 vec 35 (Fixed|physical|edge)");
    view.setBigUint64(8, 0x00000100fee6500cn, true);
    view.setBigUint64(16, 0x8723n, true);
    expect(render(format, record)).toBe("dst 165 vec 35 (ExtINT|logical|level|rh)");
  });

  test("kvm_exit chooses its table by isa, and tells a failed entry", () => {
    const format = makeFormat(
      [
        "unsigned int exit_reason@8:4",
        "unsigned long guest_rip@16:8",
        "u32 isa@24:4",
        "u64 info1@32:8",
        "u64 info2@40:8",
        "u32 intr_info@48:4",
        "u32 error_code@52:4",
        "unsigned int vcpu_id@56:4",
        "u64 requests@64:8",
      ],
      '"vcpu %u reason %s%s%s rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x requests 0x%016llx", REC->vcpu_id, (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 0, "EXCEPTION_NMI" }, { 1, "EXTERNAL_INTERRUPT" }, { 12, "HLT" }, { 33, "INVALID_STATE" }) : __print_symbolic(REC->exit_reason, { 0x060, "interrupt" }, { 0x078, "hlt" }, { -1, "invalid_guest_state" }), (REC->isa == 1 && REC->exit_reason & ~0xffff) ? " " : "", (REC->isa == 1) ? __print_flags(REC->exit_reason & ~0xffff, " ", { 0x80000000, "FAILED_VMENTRY" }) : "", REC->guest_rip, REC->info1, REC->info2, REC->intr_info, REC->error_code, REC->requests',
      "kvm_exit",
      "kvm",
    );
    const record = new Uint8Array(72);
    const view = new DataView(record.buffer);
    const tail =
      " rip 0xffffffff81234567 info1 0x0000000000000181 info2 0x0000000000000000 intr_info 0x800000f6 error_code 0x00000000 requests 0x0000000000000000";
    view.setBigUint64(16, 0xffffffff81234567n, true);
    view.setBigUint64(32, 0x181n, true);
    view.setUint32(48, 0x800000f6, true);
    view.setUint32(56, 3, true);
    for (const [isa, reason, want] of [
      [1, 12, "HLT"],
      [1, 0x80000021, "INVALID_STATE FAILED_VMENTRY"],
      [1, 0x4000000c, "HLT 0x40000000"],
      [2, 0x78, "hlt"],
      [2, 0x77, "0x77"],
    ] as const) {
      view.setUint32(24, isa, true);
      view.setUint32(8, reason, true);
      expect(render(format, record)).toBe(`vcpu 3 reason ${want}${tail}`);
    }
  });

  test("kvm_entry, kvm_pio and the mmu's page events", () => {
    const entry = makeFormat(
      [
        "unsigned int vcpu_id@8:4",
        "unsigned long rip@16:8",
        "bool immediate_exit@24:1",
        "u32 intr_info@28:4",
        "u32 error_code@32:4",
      ],
      '"vcpu %u, rip 0x%lx intr_info 0x%08x error_code 0x%08x%s", REC->vcpu_id, REC->rip, REC->intr_info, REC->error_code, REC->immediate_exit ? "[immediate exit]" : ""',
    );
    const record = new Uint8Array(40);
    record[8] = 2;
    record[24] = 1;
    expect(render(entry, record)).toBe(
      "vcpu 2, rip 0x0 intr_info 0x00000000 error_code 0x00000000[immediate exit]",
    );
    const pio = makeFormat(
      [
        "unsigned int rw@8:4",
        "unsigned int port@12:4",
        "unsigned int size@16:4",
        "unsigned int count@20:4",
        "unsigned int val@24:4",
      ],
      '"pio_%s at 0x%x size %d count %d val 0x%x %s", REC->rw ? "write" : "read", REC->port, REC->size, REC->count, REC->val, REC->count > 1 ? "(...)" : ""',
    );
    const words = new Uint8Array(Uint32Array.of(0, 0, 1, 0x3f8, 1, 2, 65).buffer);
    expect(render(pio, words)).toBe("pio_write at 0x3f8 size 1 count 2 val 0x41 (...)");
    const page = makeFormat(
      [
        "__u8 mmu_valid_gen@8:1",
        "__u64 gfn@16:8",
        "__u32 role@24:4",
        "__u32 root_count@28:4",
        "bool unsync@32:1",
        "bool created@33:1",
      ],
      '"%s %s", ({ const char *saved_ptr = trace_seq_buffer_ptr(p); union kvm_mmu_page_role role; role.word = REC->role; role.has_4_byte_gpte; saved_ptr; }), REC->created ? "new" : "existing"',
      "kvm_mmu_get_page",
      "kvmmmu",
    );
    const bytes = new Uint8Array(40);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(16, 0x1234n, true);
    view.setUint32(24, 1 | (1 << 7) | (7 << 8) | (1 << 12), true);
    bytes[33] = 1;
    expect(render(page, bytes)).toBe(
      "sp gen 0 gfn 1234 l1 8-byte q0 direct wux nxe ad root 0 sync new",
    );
  });
});

describe("compilePrintFormat() fallback", () => {
  const fields = [
    "int i@8:4s",
    "short h@12:2s",
    "long l@16:8",
    "char comm[8]@24:8",
    "u8 raw[2]@32:2",
    "void * p@40:8",
  ];
  const record = new Uint8Array(48);
  const view = new DataView(record.buffer);
  view.setInt32(8, -5, true);
  view.setInt16(12, 7, true);
  view.setBigUint64(16, 255n, true);
  record.set(encode("ab"), 24);
  record.set([1, 2], 32);
  view.setBigUint64(40, 0xffff888003c02000n, true);
  const pairs = " i=-5 h= 7 l=0xff comm=ab raw=ARRAY[01, 02] p=0xffff888003c02000";

  for (const [print, reason] of [
    ['"%d"', "more conversions than arguments"],
    ['"%d", REC->nosuch', 'unknown variable "nosuch"'],
    ['"%d", nosuch(1)', 'unknown function "nosuch"'],
    ['"%d", (', "expected a value"],
    ["REC->i", "expected a format string"],
    ["", "expected a value"],
    ['"%s", __get_str(i', 'expected ")"'],
    ['"%d", REC->comm == REC->comm', "print formats cannot compare text"],
    ['"%s", REC->i + 1', "this is no text"],
    ['"%s", __print_flags(REC->i)', "__print_flags() wants"],
    ['"%s", __print_symbolic(REC->i, { REC->i, "x" })', "expected a constant"],
  ] as const) {
    test(`${print} is printed as fields`, () => {
      const format = makeFormat(fields, print);
      const printer = compilePrintFormat(format);
      expect(printer.isFallback).toBe(true);
      expect(printer.reason).toContain(reason);
      expect(render(format, record)).toBe(`[FAILED TO PARSE]${pairs}`);
    });
  }

  test("a record that is too short is printed as far as it goes", () => {
    const format = makeFormat(fields, '"%d %lx", REC->i, REC->l');
    expect(render(format, record)).toBe("-5 ff");
    expect(render(format, record.slice(0, 14))).toBe("[SHORT RECORD] i=-5 h= 7 l=? comm= raw= p=?");
    expect(render(format, record.slice(0, 0))).toBe("[SHORT RECORD] i=? h=? l=? comm= raw= p=?");
  });
});

describe("hostile print formats and records", () => {
  test("text from the record never reaches the output raw", () => {
    const format = makeFormat(FIELDS, '"%s %s %c", REC->comm, __get_str(name), REC->c');
    const record = makeRecord();
    record.set(encode("\x1b[2J\n\x07"), 32);
    record.set(encode("\r\u009b"), 152);
    expect(render(format, record)).toMatch(/^[\x20-\x7e]*$/);
  });

  test("dynamic fields that point anywhere are cut at the record's end", () => {
    const print =
      '"%s|%s|%s|%s|%s|%s", __get_str(name), __print_hex(__get_dynamic_array(list), __get_dynamic_array_len(list)), __get_bitmask(mask), __get_rel_str(tail), __print_array(__get_dynamic_array(list), 1000000000, 2), __get_cpumask(mask)';
    const format = makeFormat(FIELDS, print);
    expect(compilePrintFormat(format).isFallback).toBe(false);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 220 }),
        fc.array(fc.nat(0xffffffff), { minLength: 4, maxLength: 4 }),
        (bytes, locations) => {
          if (bytes.length >= 112) {
            const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
            locations.forEach((word, i) => {
              view.setUint32(96 + 4 * i, word, true);
            });
          }
          // What lies around the record is 0xee, which must never show.
          for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0xee) bytes[i] = 0;
          const text = render(format, bytes);
          expect(text).toMatch(/^[\x20-\x7e]*$/);
          expect(text).not.toContain("ee ee");
          expect(text).not.toContain("\\xee");
        },
      ),
      { numRuns: 1000 },
    );
  });

  test(
    "any format text is a renderer whose output is printable and bounded",
    () => {
      const piece = fc.constantFrom(
        ..."%d %s %c %p %pS %pI4 %pISpc %*pbl %.*s %5000d %llx %-08.3x %% %n %".split(" "),
        ...[
          '"',
          '", ',
          ", ",
          "(",
          ")",
          "REC->",
          "i",
          "comm",
          "name",
          "list",
          "mask",
          "sa",
          "args[1]",
        ],
        ...[
          "__get_str(name)",
          '__print_flags(REC->i, "|", { 1, "a" })',
          "__print_hex(REC->comm, 9)",
        ],
        ...[
          "__print_array(",
          "__get_dynamic_array(list)",
          "({ int x = ",
          "; })",
          "?",
          ":",
          "1 << 99",
          "/ 0",
        ],
        ...["\\n", "\x1b", "é", "{", "}", "sizeof(", "(u8)", "*", "&", "- 1"],
      );
      const text = fc
        .array(piece, { maxLength: 30 })
        .map((parts) => `"${parts.join("")}`.replace(/\n/g, " "));
      const record = makeRecord();
      fc.assert(
        fc.property(text, fc.nat(200), fc.uint8Array({ maxLength: 40 }), (print, size, noise) => {
          const bytes = record.slice(0, size);
          bytes.set(
            noise.subarray(0, Math.min(noise.length, Math.max(0, size - 100))),
            96 % (size + 1),
          );
          const output = render(makeFormat(FIELDS, print), bytes, { symbols: SYMBOLS });
          expect(output).toMatch(/^[\t\x20-\x7e]*$/);
          expect(output.length).toBeLessThan(RENDER_BYTES_MAX * 10);
        }),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test(
    "mutations of the running kernel's formats are a FormatError or render",
    () => {
      const texts = kernelFormats();
      if (texts.length === 0) return;
      const mutation = fc.record({
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        remove: fc.nat(30),
        insert: fc.oneof(
          fc.string({ maxLength: 8, unit: "binary" }),
          fc.constantFrom("(", "%s", "{", "99999", "REC->"),
        ),
      });
      fc.assert(
        fc.property(
          fc.nat(texts.length - 1),
          fc.array(mutation, { maxLength: 3 }),
          fc.uint8Array({ maxLength: 256 }),
          (which, mutations, record) => {
            let text = texts[which]!;
            for (const { at, remove, insert } of mutations) {
              const from = Math.floor(at * text.length);
              text = text.slice(0, from) + insert + text.slice(from + remove);
            }
            let format: EventFormat;
            try {
              format = parseFormat(text, "fuzz");
            } catch (error) {
              expect(error).toBeInstanceOf(FormatError);
              return;
            }
            expect(render(format, record, { symbols: SYMBOLS })).toMatch(/^[\t\x20-\x7e]*$/);
          },
        ),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test("the output of one record is cut", () => {
    const print = `"${"%s".repeat(1000)}"${", __get_str(name)".repeat(1000)}`;
    const format = makeFormat(["__data_loc char[] name@8:4"], print);
    const record = new Uint8Array(60000).fill(0x41);
    new DataView(record.buffer).setUint32(8, 12 | (59000 << 16), true);
    const output = render(format, record);
    expect(output.length).toBeLessThan(59000 + RENDER_BYTES_MAX);
    expect(output.endsWith("...")).toBe(true);
  });

  test("scanning many long strings stops early", () => {
    const print = `"${"%.0s".repeat(2000)}"${", __get_str(name)".repeat(2000)}`;
    const format = makeFormat(["__data_loc char[] name@8:4"], print);
    const record = new Uint8Array(60000).fill(0x41);
    new DataView(record.buffer).setUint32(8, 12 | (59000 << 16), true);
    expect(render(format, record)).toBe("...");
  });
});

/** Every tenth format of the running kernel; none, with the reason printed, where there is no tracefs. */
function kernelFormats(): string[] {
  try {
    const tracefs = Tracefs.open();
    const events = tracefs.find("*:*").filter((_, i) => i % 10 === 0);
    return events
      .filter(({ system, name }) => tracefs.has(system, name))
      .map(({ system, name }) => tracefs.formatText(system, name));
  } catch (error) {
    if (!(error instanceof TracefsError)) throw error;
    console.log(`skipped: ${error.message}`);
    return [];
  }
}
