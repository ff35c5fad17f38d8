/** kvm:kvm_write_tsc_offset records, by hand. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type KvmWriteLayout,
  kvmWriteFields,
  readKvmWrites,
} from "../../../agent-host/align/kvm_write.ts";
import { parseFormat } from "../../../shared/tracefs/format.ts";

/** As Linux 6.18 has it. */
const FORMAT = `name: kvm_write_tsc_offset
ID: 1555
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned int vcpu_id;	offset:8;	size:4;	signed:0;
	field:__u64 previous_tsc_offset;	offset:16;	size:8;	signed:0;
	field:__u64 next_tsc_offset;	offset:24;	size:8;	signed:0;

print fmt: "vcpu=%u prev=%llu next=%llu", REC->vcpu_id, REC->previous_tsc_offset, REC->next_tsc_offset
`;
const LAYOUT: KvmWriteLayout = {
  pidOffset: 8,
  timeOffset: 16,
  rawSizeOffset: 24,
  ...kvmWriteFields(parseFormat(FORMAT)),
};
/** Header, pid and tid, time, raw size and 32 bytes of raw data, padded. */
const SAMPLE_BYTES = 64;

function sample(pid: number, ns: bigint, apicId: number, previous: bigint, next: bigint) {
  const view = new DataView(new ArrayBuffer(SAMPLE_BYTES));
  view.setUint32(0, 9, true);
  view.setUint16(6, SAMPLE_BYTES, true);
  view.setInt32(8, pid, true);
  view.setBigUint64(16, ns, true);
  view.setUint32(24, 36, true);
  view.setUint32(28 + 8, apicId, true);
  view.setBigUint64(28 + 16, previous, true);
  view.setBigUint64(28 + 24, next, true);
  return new Uint8Array(view.buffer);
}

describe("readKvmWrites()", () => {
  test("reads pid, time, vCPU and both offsets, and skips other records", () => {
    const lost = new Uint8Array(24);
    lost.set([2, 0, 0, 0, 0, 0, 24, 0]);
    const minus = BigInt.asUintN(64, -5n);
    const bytes = Buffer.concat([
      sample(7, 99n, 5, 0n, minus),
      lost,
      sample(8, 1n << 60n, 0, 1n, 2n),
    ]);
    expect(readKvmWrites(bytes, LAYOUT)).toEqual([
      { pid: 7, ns: 99n, apicId: 5, previous: 0n, next: minus },
      { pid: 8, ns: 1n << 60n, apicId: 0, previous: 1n, next: 2n },
    ]);
  });

  test("passes a sample over that is too short for the fields", () => {
    const short = sample(7, 99n, 5, 0n, 1n).slice(0, 56);
    short[6] = 56;
    expect(readKvmWrites(short, LAYOUT)).toEqual([]);
  });

  test("gives writes or RangeError for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          expect(readKvmWrites(bytes, LAYOUT).length).toBeLessThan(10);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

test("kvmWriteFields() refuses a format without the fields, or with others of the name", () => {
  const other = FORMAT.replace("previous_tsc_offset;", "previous;");
  expect(() => kvmWriteFields(parseFormat(other))).toThrow("no field previous_tsc_offset");
  const narrow = FORMAT.replace("offset:24;	size:8;", "offset:24;	size:4;");
  expect(() => kvmWriteFields(parseFormat(narrow))).toThrow("no field next_tsc_offset of 8 bytes");
});
