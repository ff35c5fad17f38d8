/** Call chains on the real kernel: who has one, how deep, and what it costs those without. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import type { EventSet } from "../../../shared/event/event_set.ts";
import { PERF_RECORD_MMAP2 } from "../../../shared/perf/record.ts";
import {
  PERF_SAMPLE_CALLCHAIN,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../../../shared/perf/sample_type.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import {
  callGetpgrp,
  callGetppid,
  NO_TRACING,
  OWN_GETPGRP,
  OWN_GETPPID,
  openEvents,
  recordsOf,
  samplesOf,
} from "./kernel.ts";

const BASE_TYPE = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
const KERNEL_MARKER = -128n;
const USER_MARKER = -512n;
const GETPPID_ID = 110n;

interface Chained {
  readonly id: bigint;
  readonly entries: readonly bigint[];
  readonly bytes: number;
}

/** A sample with a chain in front of its raw data. */
function chained(set: EventSet): Chained[] {
  const chainAt = (set.sampleType & PERF_SAMPLE_TID) !== 0 ? 24 : 16;
  return samplesOf(set).map(({ bytes }) => {
    const count = Number(bytes.getBigUint64(chainAt, true));
    const entries = Array.from({ length: count }, (_, i) =>
      bytes.getBigInt64(chainAt + 8 + i * 8, true),
    );
    const raw = chainAt + 8 + count * 8 + 4;
    return { id: bytes.getBigInt64(raw + 8, true), entries, bytes: bytes.byteLength };
  });
}

function sample(texts: readonly string[], callChains = false): Chained[] {
  using set = { it: openEvents(texts, { callChains }), [Symbol.dispose]: () => set.it.close() };
  set.it.enable();
  callGetppid(20);
  callGetpgrp(20);
  set.it.disable();
  return chained(set.it);
}

describe.skipIf(NO_TRACING !== "")("EventSet with call chains", () => {
  test("stack gives kernel and user frames of each record, and its process id", () => {
    const set = openEvents([`${OWN_GETPPID()}stack/`]);
    expect(set.sampleType).toBe(BASE_TYPE | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_TID);
    set.enable();
    callGetppid(20);
    set.disable();
    const records = chained(set);
    expect(records.length).toBe(20);
    for (const { entries } of records) {
      expect(entries[0]).toBe(KERNEL_MARKER);
      expect(entries).toContain(USER_MARKER);
      // Above the marker of the user's part lies the kernel's, below it addresses of user space.
      const user = entries.slice(entries.indexOf(USER_MARKER) + 1);
      expect(user.length).toBeGreaterThan(0);
      expect(user.every((address) => address > 0n)).toBe(true);
    }
    set.close();
  });

  test("stack=kernel and stack=user leave the other part out; max-stack bounds each", () => {
    const kernel = sample([`${OWN_GETPPID()}stack=kernel/`]);
    expect(kernel.length).toBe(20);
    expect(kernel.every(({ entries }) => !entries.includes(USER_MARKER))).toBe(true);
    expect(kernel.every(({ entries }) => entries[0] === KERNEL_MARKER)).toBe(true);
    const user = sample([`${OWN_GETPPID()}stack=user/`]);
    expect(user.every(({ entries }) => entries[0] === USER_MARKER)).toBe(true);
    const short = sample([`${OWN_GETPPID()}stack=kernel/max-stack=2/`]);
    expect(short.every(({ entries }) => entries.length === 3)).toBe(true);
    expect(kernel.some(({ entries }) => entries.length > 3)).toBe(true);
  });

  test("an event that asks for none has an empty one beside those that do: eight bytes", () => {
    const alone = openEvents([OWN_GETPGRP()]);
    expect(alone.sampleType).toBe(BASE_TYPE);
    alone.enable();
    callGetpgrp(1);
    alone.disable();
    const plainBytes = samplesOf(alone)[0]!.bytes.byteLength;
    alone.close();
    // raw_syscalls:sys_exit is another tracepoint: no identifier is needed to tell them apart.
    const texts = [`${OWN_GETPPID()}stack=kernel/`, OWN_GETPGRP().replace("sys_enter", "sys_exit")];
    const set = openEvents(texts);
    expect(set.sampleType).toBe(BASE_TYPE | PERF_SAMPLE_CALLCHAIN);
    set.enable();
    callGetppid(10);
    callGetpgrp(10);
    set.disable();
    const records = chained(set);
    const withChain = records.filter(({ id }) => id === GETPPID_ID);
    const without = records.filter(({ id }) => id !== GETPPID_ID);
    expect([withChain.length, without.length]).toEqual([10, 10]);
    expect(withChain.every(({ entries }) => entries.length > 2)).toBe(true);
    expect(without.every(({ entries }) => entries.length === 0)).toBe(true);
    // sys_exit has an id and a result where sys_enter has an id and six arguments.
    expect(new Set(without.map(({ bytes }) => bytes))).toEqual(new Set([plainBytes - 40 + 8]));
    set.close();
  });

  test("callChains samples them for every event", () => {
    const both = [OWN_GETPPID(), OWN_GETPGRP().replace("sys_enter", "sys_exit")];
    const records = sample(both, true);
    expect(records.length).toBe(40);
    expect(records.every(({ entries }) => entries.length > 2)).toBe(true);
  });

  test("with user frames, what a new process maps is in the rings; without them it is not", () => {
    const mappingsWith = (texts: readonly string[]): number => {
      const set = openEvents(texts, { taskNames: true });
      set.enable();
      spawnSync("/bin/true");
      set.disable();
      const records = set.rings.flatMap(({ ring }) => recordsOf(ring));
      const mapped = records.filter(({ type }) => type === PERF_RECORD_MMAP2);
      set.close();
      return mapped.length;
    };
    // The program, its loader and the C library.
    expect(mappingsWith([`${OWN_GETPPID()}stack/`])).toBeGreaterThanOrEqual(3);
    expect(mappingsWith([`${OWN_GETPPID()}stack=kernel/`])).toBe(0);
    expect(mappingsWith([OWN_GETPPID()])).toBe(0);
  });

  test("a depth that the kernel does not allow is refused with the file that limits it", () => {
    const open = (): unknown => openEvents([`${OWN_GETPPID()}max-stack=127/`]).close();
    const path = "/proc/sys/kernel/perf_event_max_stack";
    const before = spawnSync("cat", [path], { encoding: "utf8" }).stdout.trim();
    if (Number(before) >= 127) {
      expect(open).not.toThrow();
      return;
    }
    try {
      open();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(SysError);
      expect((error as SysError).hint).toContain(path);
    }
  });
});
