/**
 * Formats and records made up for tests of print formats:
 *
 *   const format = makeFormat(["int i@8:4s"], '"i=%d", REC->i');      TYPE NAME@OFFSET:SIZE[s]
 *   render(format, record);                                           "i=-5"
 */
import { ByteWriter } from "../../../../shared/text/byte_writer.ts";
import { type EventFormat, parseFormat } from "../../../../shared/tracefs/format.ts";
import { compilePrintFormat, type PrintOptions } from "../../../../shared/tracefs/print_format.ts";
import { KallsymsResolver } from "../../../../shared/tracefs/symbols.ts";

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const COMMON = `\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
`;

/** A format of fields "TYPE NAME@OFFSET:SIZE[s]". */
export function makeFormat(
  fields: readonly string[],
  print: string,
  name = "demo",
  system = "test",
): EventFormat {
  return parseFormat(formatText(fields, print, name), system);
}

/** Its text, as tracefs would have it. */
export function formatText(fields: readonly string[], print: string, name = "demo"): string {
  const lines = fields.map((text) => {
    const match = /^(.*)@(\d+):(\d+)(s?)$/.exec(text)!;
    return `\tfield:${match[1]};\toffset:${match[2]};\tsize:${match[3]};\tsigned:${match[4] === "s" ? 1 : 0};\n`;
  });
  return `name: ${name}\nID: 77\nformat:\n${COMMON}\n${lines.join("")}\nprint fmt: ${print}\n`;
}

/** What a record prints as. */
export function render(
  format: EventFormat,
  record: Uint8Array,
  options: PrintOptions = {},
): string {
  const out = new ByteWriter(1 << 18);
  const printer = compilePrintFormat(format, options);
  // Not at the start of the memory, and 4 mod 8, as in a ring.
  const memory = new Uint8Array(record.length + 64).fill(0xee);
  memory.set(record, 12);
  printer.render(out, new DataView(memory.buffer), memory, 12, record.length);
  return out.toString();
}

/** One field of each kind that print formats know. */
export const FIELDS = [
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

/** A record of FIELDS: 140 fixed bytes, its dynamic fields at 152. */
export function makeRecord(): Uint8Array {
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

export const SYMBOLS = KallsymsResolver.parse(
  encode("00000000fee40000 T do_idle\n00000000fee42000 t next\n"),
);
