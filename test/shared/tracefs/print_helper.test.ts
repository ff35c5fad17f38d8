// Functions that print formats call by name: our text is compared with that of libtraceevent's
// plugins, on made-up records.

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import type { EventFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat } from "../../../shared/tracefs/print_format.ts";
import { writeCdb } from "../../../shared/tracefs/scsi_cdb.ts";
import { Comparison } from "./support/explained.ts";
import { oracleProblem, runOracle } from "./support/oracle.ts";
import { formatText, makeFormat } from "./support/print_fixture.ts";
import { Random } from "./support/random_records.ts";

const FIELDS = ["unsigned int number@8:4", "u8 cdb[32]@12:32", "__data_loc u8[] cmnd@44:4"];
const RECORD_BYTES = 48;

/** Function, plugin that has it, format. */
const HELPERS = [
  ["scsi", '"cdb %s", scsi_trace_parse_cdb(p, __get_dynamic_array(cmnd), 32)'],
  ["jbd2", '"dev %s", jbd2_dev_to_name(REC->number)'],
  ["jbd2", '"%u ms", jiffies_to_msecs(REC->number)'],
  ["xen", '"op %s", xen_hypercall_name(REC->number)'],
  ["kvm", '"pte %s", is_writable_pte(REC->number) ? "w" : "-"'],
] as const;

/** Every opcode that has a text, and others. */
const OPCODES = [
  ...[0x08, 0x0a, 0x28, 0x2f, 0x2a, 0x41, 0xa8, 0xaf, 0xaa, 0x88, 0x8f, 0x8a, 0x93],
  ...[0x42, 0x9e, 0x7f, 0x00, 0x12, 0x25],
];

function makeRecords(random: Random): Uint8Array[] {
  return Array.from({ length: 400 }, (_, i) => {
    const record = new Uint8Array(RECORD_BYTES);
    // Below 0x80: the plugin extends the sign of what it shifts into the top of an int.
    for (let at = 12; at < RECORD_BYTES; at++) record[at] = random.below(128);
    const view = new DataView(record.buffer);
    view.setUint16(0, 77, true);
    view.setUint32(44, 12 | (32 << 16), true);
    view.setUint32(8, i < 64 ? i : random.below(0x7fffffff), true);
    record[12] = OPCODES[i % OPCODES.length]!;
    // Service actions that have a name.
    if (record[12] === 0x9e && i % 2 === 0) record[13] = 0x10 + random.below(3);
    if (record[12] === 0x7f) record.set([0, 8 + random.below(6)], 20);
    return record;
  });
}

const problem = oracleProblem();
if (problem !== "") console.log(`skipped: ${problem}`);

describe("helperPiece()", () => {
  test.skipIf(problem !== "")("prints what libtraceevent's plugins print", () => {
    const comparison = new Comparison(true);
    const records = makeRecords(new Random(20261125));
    const out = new ByteWriter(1 << 16);
    for (const [plugin, print] of HELPERS) {
      const format: EventFormat = makeFormat(FIELDS, print);
      const event = { system: "test", formatText: formatText(FIELDS, print), records };
      const theirs = runOracle([event], [plugin]);
      if (typeof theirs === "string") throw new Error(theirs);
      const printer = compilePrintFormat(format);
      expect(printer.reason).toBe("");
      records.forEach((record, i) => {
        out.clear();
        printer.render(out, new DataView(record.buffer), record, 0, record.length);
        comparison.add(print, out.toString(), theirs[0]![i] ?? "<none>");
      });
    }
    comparison.report("libtraceevent's plugins");
    expect(comparison.unexplained).toEqual([]);
    expect(comparison.equal).toBe(comparison.compared);
  });
});

describe("writeCdb()", () => {
  const write = (...bytes: number[]): string => {
    const out = new ByteWriter(4096);
    writeCdb(out, Uint8Array.from(bytes), 0, bytes.length);
    return out.toString();
  };

  test("reads each group of commands", () => {
    expect(write(0x28, 0, 0, 0, 8, 0, 0, 0, 8, 0)).toBe("lba=2048 txlen=8 protect=0");
    expect(write(0x08, 0xff, 0, 1, 2, 0)).toBe("lba=2031617 txlen=2");
    expect(write(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32)).toBe(
      "READ_CAPACITY_16 lba=0 alloc_len=32",
    );
    expect(write(0x00, 0, 0, 0, 0, 0)).toBe("-");
  });

  test("a command that is cut off counts as zeros", () => {
    expect(write(0x8a, 0x20)).toBe("lba=0 txlen=0 protect=1");
    expect(write()).toBe("-");
  });
});
