/** struct perf_event_attr, byte for byte as <linux/perf_event.h> lays it out. */
import { describe, expect, test } from "bun:test";
import {
  type CallChain,
  type EventAttr,
  encodeAttr,
  PERF_COUNT_SW_DUMMY,
  PERF_FORMAT_LOST,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
} from "../../../shared/perf/attr.ts";
import {
  PERF_SAMPLE_CALLCHAIN,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../../../shared/perf/sample_type.ts";

const ZEROES = (count: number): number[] => new Array<number>(count).fill(0);

const TRACEPOINT: EventAttr = {
  type: PERF_TYPE_TRACEPOINT,
  config: 0x1234,
  sampleType: PERF_SAMPLE_TIME | PERF_SAMPLE_RAW,
  readFormat: PERF_FORMAT_LOST,
  watermarkBytes: 0x40000,
  clockId: 4,
  taskNames: true,
  inherit: "none",
};

describe("encodeAttr", () => {
  test("encodeAttr() of a tracepoint on CLOCK_MONOTONIC_RAW with task names", () => {
    expect([...encodeAttr(TRACEPOINT)]).toEqual([
      ...[2, 0, 0, 0], // type: PERF_TYPE_TRACEPOINT
      ...[112, 0, 0, 0], // size: PERF_ATTR_SIZE_VER5
      ...[0x34, 0x12, 0, 0, 0, 0, 0, 0], // config: the tracepoint's id
      ...[1, 0, 0, 0, 0, 0, 0, 0], // sample_period: every one
      ...[0x04, 0x04, 0, 0, 0, 0, 0, 0], // sample_type: TIME (bit 2), RAW (bit 10)
      ...[0x10, 0, 0, 0, 0, 0, 0, 0], // read_format: LOST (bit 4)
      // disabled (0), comm (9), task (13), watermark (14), sample_id_all (18), use_clockid (25)
      ...[0x01, 0x62, 0x04, 0x02, 0, 0, 0, 0],
      ...[0, 0, 4, 0], // wakeup_watermark: 256 KiB
      ...ZEROES(40), // bp_type to sample_stack_user
      ...[4, 0, 0, 0], // clockid: CLOCK_MONOTONIC_RAW
      ...ZEROES(16), // sample_regs_intr to sample_max_stack
    ]);
  });

  test("encodeAttr() of a software event on perf's own clock", () => {
    const bytes = encodeAttr({
      type: PERF_TYPE_SOFTWARE,
      config: PERF_COUNT_SW_DUMMY,
      sampleType: PERF_SAMPLE_TID | PERF_SAMPLE_IDENTIFIER,
      readFormat: 0,
      watermarkBytes: 4096,
      clockId: undefined,
      taskNames: false,
      inherit: "none",
    });
    expect([...bytes.slice(0, 52)]).toEqual([
      ...[1, 0, 0, 0, 112, 0, 0, 0],
      ...[9, 0, 0, 0, 0, 0, 0, 0], // PERF_COUNT_SW_DUMMY
      ...ZEROES(8), // no period: it never fires
      ...[0x02, 0, 0x01, 0, 0, 0, 0, 0], // TID (bit 1), IDENTIFIER (bit 16)
      ...ZEROES(8),
      ...[0x01, 0x40, 0x04, 0, 0, 0, 0, 0], // disabled, watermark, sample_id_all
      ...[0, 0x10, 0, 0],
    ]);
    expect([...bytes.slice(52)]).toEqual(ZEROES(60));
  });

  test("encodeAttr() tells clock 0 (CLOCK_REALTIME) from no clock by the flag", () => {
    const USE_CLOCKID = 0x02;
    expect(encodeAttr({ ...TRACEPOINT, clockId: 0 })[43]! & USE_CLOCKID).toBe(USE_CLOCKID);
    expect(encodeAttr({ ...TRACEPOINT, clockId: undefined })[43]! & USE_CLOCKID).toBe(0);
  });

  test("encodeAttr() asks for the parts of a call chain, and for none unless told", () => {
    const sampleType = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW | PERF_SAMPLE_CALLCHAIN;
    const bytesOf = (callChain: CallChain | undefined): number[] => {
      const bytes = encodeAttr({ ...TRACEPOINT, sampleType, callChain });
      // The third byte of the flags: exclude_callchain_kernel (21), exclude_callchain_user (22).
      return [bytes[24]!, bytes[42]! & 0x60, bytes[108]!, bytes[109]!];
    };
    const [hasKernel, hasUser] = [true, true];
    expect(bytesOf(undefined)).toEqual([0x24, 0x60, 0, 0]);
    expect(bytesOf({ hasKernel, hasUser, entriesMax: 0 })).toEqual([0x24, 0, 0, 0]);
    expect(bytesOf({ hasKernel, hasUser: false, entriesMax: 300 })).toEqual([0x24, 0x40, 44, 1]);
    expect(bytesOf({ hasKernel: false, hasUser, entriesMax: 127 })).toEqual([0x24, 0x20, 127, 0]);
    expect(encodeAttr({ ...TRACEPOINT })[42]! & 0x60).toBe(0);
  });

  test("encodeAttr() asks for mappings of code: mmap (bit 8) and mmap2 (bit 23)", () => {
    const flags = [...encodeAttr({ ...TRACEPOINT, codeMappings: true }).slice(40, 44)];
    expect(flags).toEqual([0x01, 0x63, 0x84, 0x02]);
  });

  test("encodeAttr() inherits to threads (bits 1 and 35) or to all children (bit 1)", () => {
    const flags = (inherit: EventAttr["inherit"]): number[] => [
      ...encodeAttr({ ...TRACEPOINT, inherit }).slice(40, 48),
    ];
    expect(flags("threads")).toEqual([0x03, 0x62, 0x04, 0x02, 0x08, 0, 0, 0]);
    expect(flags("children")).toEqual([0x03, 0x62, 0x04, 0x02, 0, 0, 0, 0]);
  });
});
