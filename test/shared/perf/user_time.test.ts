/** The kernel's published conversion, on control pages written here. */
import { describe, expect, test } from "bun:test";
import { ClockWithdrawnError, readUserTime, stillOffered } from "../../../shared/perf/user_time.ts";

/** Offsets in struct perf_event_mmap_page. */
const LOCK_AT = 8;
const CAPABILITIES_AT = 40;
const SHIFT_AT = 50;
const MULT_AT = 52;
const TIME_OFFSET_AT = 56;
const ZERO_AT = 64;
const CAP_USER_TIME = 1 << 3;
const CAP_USER_TIME_ZERO = 1 << 4;

const EXPECTED = { timeZero: 0xfedc_ba98_7654_3210n, timeMult: 0x8000_0001, timeShift: 31 };

function page(capabilities = CAP_USER_TIME | CAP_USER_TIME_ZERO, lock = 6): DataView {
  const view = new DataView(new ArrayBuffer(4096));
  view.setUint32(LOCK_AT, lock, true);
  view.setBigUint64(CAPABILITIES_AT, BigInt(capabilities), true);
  view.setUint16(SHIFT_AT - 2, 0xffff, true);
  view.setUint16(SHIFT_AT, EXPECTED.timeShift, true);
  view.setUint32(MULT_AT, EXPECTED.timeMult, true);
  view.setBigUint64(TIME_OFFSET_AT, ~0n, true);
  view.setBigUint64(ZERO_AT, EXPECTED.timeZero, true);
  return view;
}

function read(view: DataView, barrier: () => void = () => {}): unknown {
  return readUserTime(view.buffer as ArrayBuffer, barrier);
}

describe("readUserTime", () => {
  test("readUserTime() reads zero, mult and shift from where the kernel puts them", () => {
    expect(read(page())).toEqual(EXPECTED);
  });

  test("readUserTime() gives undefined without cap_user_time_zero", () => {
    expect(read(page(CAP_USER_TIME))).toBeUndefined();
    expect(read(page(0))).toBeUndefined();
    expect(read(page(~CAP_USER_TIME_ZERO & 0x3f))).toBeUndefined();
  });

  test("readUserTime() takes the capability alone: cap_user_time is another conversion", () => {
    expect(read(page(CAP_USER_TIME_ZERO))).toEqual(EXPECTED);
  });

  test("readUserTime() reads again when the lock changed meanwhile", () => {
    const view = page();
    let calls = 0;
    // The kernel updates the page between the first two reads: mult is new, zero still old.
    const barrier = (): void => {
      calls++;
      if (calls === 1) view.setUint32(MULT_AT, 0xbad, true);
      if (calls === 2) {
        view.setUint32(MULT_AT, EXPECTED.timeMult, true);
        view.setUint32(LOCK_AT, 8, true);
      }
    };
    expect(read(view, barrier)).toEqual(EXPECTED);
    expect(calls).toBe(4);
  });

  test("readUserTime() waits while the lock is odd: the kernel is writing", () => {
    const view = page(CAP_USER_TIME_ZERO, 7);
    view.setBigUint64(ZERO_AT, 1n, true);
    let calls = 0;
    const barrier = (): void => {
      if (++calls < 20) return;
      view.setBigUint64(ZERO_AT, EXPECTED.timeZero, true);
      view.setUint32(LOCK_AT, 8, true);
    };
    expect(read(view, barrier)).toEqual(EXPECTED);
  });

  test("readUserTime() gives up on a lock that never comes to rest", () => {
    expect(() => read(page(CAP_USER_TIME_ZERO, 7))).toThrow(
      "Cannot read the perf control page: its lock never came to rest",
    );
    const view = page();
    let lock = 6;
    const barrier = (): void => {
      lock += 2;
      view.setUint32(LOCK_AT, lock, true);
    };
    expect(() => read(view, barrier)).toThrow(RangeError);
  });

  test("readUserTime() does not believe a capability that was read while the page changed", () => {
    const view = page(0);
    let calls = 0;
    const barrier = (): void => {
      if (++calls !== 2) return;
      view.setBigUint64(CAPABILITIES_AT, BigInt(CAP_USER_TIME_ZERO), true);
      view.setUint32(LOCK_AT, 8, true);
    };
    expect(read(view, barrier)).toEqual(EXPECTED);
  });
});

test("stillOffered() ends what rests on a conversion that is gone, and says what to do", () => {
  expect(stillOffered(EXPECTED)).toBe(EXPECTED);
  expect(() => stillOffered(undefined)).toThrow(ClockWithdrawnError);
  expect(new ClockWithdrawnError().hint).toContain("start again");
});
