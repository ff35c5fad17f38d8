/** Print formats: every conversion and helper on one made-up record, and what cannot be parsed. */
import { describe, expect, test } from "bun:test";
import { KernelStrings } from "../../../shared/tracefs/kernel_strings.ts";
import { compilePrintFormat, unrenderedReason } from "../../../shared/tracefs/print_format.ts";
import {
  encode,
  FIELDS,
  makeFormat,
  makeRecord,
  render,
  SYMBOLS,
} from "./support/print_fixture.ts";

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
    ['"%s", jbd2_dev_to_name(REC->q)', "4078:266240"],
    ['"%s|%s", xen_hypercall_name(1), xen_hypercall_name(11)', "(mmu_update)|"],
    [
      '"%0*llx", (int)sizeof(pteval_t) * 2, (u64)pte_val(native_make_pte(REC->q))',
      "00000000fee41000",
    ],
    ['"%d %d", is_writable_pte(7), is_writable_pte(5)', "2 0"],
    ['"%d", __le16_to_cpup(__get_dynamic_array(list))', "1"],
    ['"%s", scsi_trace_parse_cdb(p, REC->mac, 6)', "-"],
    ['"%pa %pNF", &REC->q, REC->mac', "0x00000000fee41000 INVALID"],
    ['"%pI4 %pI6c %pM", &REC->ip4, &REC->ip6[0], &REC->mac', "10.0.0.1 fe80::1 52:54:00:12:34:56"],
    [
      '"%pa %pNF", ((u64 *)__get_dynamic_array(mask)), ((u64 *)__get_dynamic_array(mask))',
      "0x000000000000010f 0x10f",
    ],
    ['"%6pE|%*pE", REC->mac, 2, REC->comm', "RT\\0\\0224V|wo"],
    ['"%pSR", REC->q', "do_idle+0x1000"],
    [
      '"%s", __print_hex_dump("m: ", DUMP_PREFIX_OFFSET, 16, 1, REC->mac, 6, 1)',
      "m: 00000000: 52 54 00 12 34 56                                RT..4V",
    ],
    [
      '"%s", __print_hex_dump("", DUMP_PREFIX_NONE, 16, 4, REC->ip6, 16, false)',
      "000080fe 00000000 00000000 01000000",
    ],
    [
      '"%s", __print_hex_dump("", DUMP_PREFIX_OFFSET, 16, 2, REC->sa, 28, 0)',
      "00000000: 000a 5000 0000 0000 0000 0000 0000 0000\\n00000010: 0000 0000 0000 0100 0000 0000",
    ],
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
      expect(unrenderedReason(format)).toBe(printer.reason);
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
