/** EventSet on the real kernel: what fires is counted, to the event, and nothing is left open. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { FilterError, probePerfClock } from "../../../shared/event/event_set.ts";
import { onlineCpus, parseCpuList, readLineOf } from "../../../shared/event/machine.ts";
import { PERF_RECORD_COMM, PERF_RECORD_LOST } from "../../../shared/perf/record.ts";
import {
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../../../shared/perf/sample_type.ts";
import { clockBracket, readTsc } from "../../../shared/sys/clock.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import {
  callGetpgrp,
  callGetppid,
  libcPath,
  mappedRings,
  NO_TRACING,
  OWN_GETPGRP,
  OWN_GETPPID,
  openEvents,
  ownProbes,
  ownTid,
  readSysEnter,
  recordsOf,
  samplesOf,
  totalOf,
  tracingDescriptors,
} from "./kernel.ts";

const GETPPID_ID = 110n;
const GETPGRP_ID = 111n;
const BASE_TYPE = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;

/** perf ns of a TSC reading, by the kernel's published conversion. */
function perfNs(tsc: bigint, zero: bigint, mult: number, shift: number): bigint {
  return BigInt.asUintN(64, zero + ((tsc * BigInt(mult)) >> BigInt(shift)));
}

describe.skipIf(NO_TRACING !== "")("EventSet", () => {
  test("every getppid of this thread is counted once and lies in a ring once", () => {
    const set = openEvents([OWN_GETPPID()]);
    expect(set.sampleType).toBe(BASE_TYPE);
    set.enable();
    callGetppid(1000);
    set.disable();
    expect(totalOf(set)).toEqual({ produced: 1000, lost: 0 });
    const samples = samplesOf(set).map((record) => readSysEnter(record, set.sampleType));
    expect(samples.length).toBe(1000);
    expect(samples.every(({ id }) => id === GETPPID_ID)).toBe(true);
    expect(samples.every(({ commonPid }) => commonPid === ownTid())).toBe(true);
    set.close();
  });

  test("stamps of one ring ascend, and lie between readings of the clock around them", () => {
    const set = openEvents([OWN_GETPPID()]);
    const userTime = set.clock.source === "exact" ? set.userTime()! : undefined;
    const now = (): bigint => {
      if (userTime === undefined) return clockBracket(set.clock.clockId!, 1).ns;
      return perfNs(readTsc(), userTime.timeZero, userTime.timeMult, userTime.timeShift);
    };
    set.enable();
    const before = now();
    callGetppid(200);
    const after = now();
    set.disable();
    for (const { ring } of set.rings) {
      let previous = before;
      for (const record of recordsOf(ring)) {
        const { timeNs } = readSysEnter(record, set.sampleType);
        expect(timeNs >= previous && timeNs <= after).toBe(true);
        previous = timeNs;
      }
    }
    set.close();
  });

  test("nothing is produced before enable() and after disable(), however often they come", () => {
    const set = openEvents([OWN_GETPPID()]);
    callGetppid(10);
    expect([set.isEnabled, totalOf(set).produced]).toEqual([false, 0]);
    for (let i = 0; i < 3; i++) {
      set.enable();
      set.enable();
      callGetppid(10);
      set.disable();
      set.disable();
      callGetppid(10);
    }
    expect(totalOf(set).produced).toBe(30);
    expect(samplesOf(set).length).toBe(30);
    set.close();
  });

  test("two events on one tracepoint are told apart by IDENTIFIER", () => {
    const set = openEvents([OWN_GETPPID(), OWN_GETPGRP()]);
    expect(set.sampleType).toBe(BASE_TYPE | PERF_SAMPLE_IDENTIFIER);
    const [first, second] = [set.identifiers(0), set.identifiers(1)];
    expect(new Set([...first, ...second]).size).toBe(2 * set.rings.length);
    set.enable();
    callGetppid(70);
    callGetpgrp(30);
    set.disable();
    const samples = samplesOf(set).map((record) => readSysEnter(record, set.sampleType));
    expect(samples.length).toBe(100);
    for (const { identifier, id } of samples) {
      expect((id === GETPPID_ID ? first : second).includes(identifier)).toBe(true);
      expect([GETPPID_ID, GETPGRP_ID]).toContain(id);
    }
    expect(samples.filter(({ id }) => id === GETPGRP_ID).length).toBe(30);
    set.close();
  });

  test("two tracepoints need no IDENTIFIER, and share a ring in order", () => {
    const exit = OWN_GETPPID().replace("sys_enter", "sys_exit");
    const set = openEvents([OWN_GETPPID(), exit]);
    expect(set.sampleType).toBe(BASE_TYPE);
    set.enable();
    callGetppid(50);
    set.disable();
    const ring = set.rings.toSorted((a, b) =>
      Number(set.count(b).produced - set.count(a).produced),
    );
    const types = recordsOf(ring[0]!.ring).map(({ bytes }) => bytes.getUint16(20, true));
    const [enterId, exitId] = set.events.map(({ id }) => id);
    expect(types.length).toBeGreaterThan(1);
    types.forEach((type, i) => {
      if (i > 0) expect(type).not.toBe(types[i - 1]!);
      expect([enterId, exitId]).toContain(type);
    });
    expect(totalOf(set)).toEqual({ produced: 100, lost: 0 });
    set.close();
  });

  test("threadIds puts the thread into each sample", () => {
    const set = openEvents([OWN_GETPPID()], { threadIds: true });
    expect(set.sampleType).toBe(BASE_TYPE | PERF_SAMPLE_TID);
    set.enable();
    callGetppid(5);
    set.disable();
    const samples = samplesOf(set).map((record) => readSysEnter(record, set.sampleType));
    expect(samples.map(({ tid }) => tid)).toEqual(new Array<number>(5).fill(ownTid()));
    set.close();
  });

  test("taskNames puts the names of new programs into the rings", () => {
    const set = openEvents([OWN_GETPPID()], { taskNames: true });
    set.enable();
    const { pid } = spawnSync("/bin/true");
    set.disable();
    const comms = set.rings
      .flatMap(({ ring }) => recordsOf(ring))
      .filter(({ type, bytes }) => type === PERF_RECORD_COMM && bytes.getUint32(8, true) === pid)
      .map(({ bytes }) => new TextDecoder().decode(bytes.buffer.slice(16, 20)));
    expect(comms).toContain("true");
    set.close();
  });
});

describe.skipIf(NO_TRACING !== "")("loss", () => {
  /** Fills rings of one page, with side records between, and reads nothing until the end. */
  function overflow(taskNames: boolean): { produced: number; lost: number; samples: number } {
    const set = openEvents([OWN_GETPPID()], { ringBytes: 4096, watermarkBytes: 1024, taskNames });
    set.enable();
    for (let i = 0; i < 4; i++) {
      callGetppid(200);
      spawnSync("/bin/true");
    }
    set.disable();
    const total = totalOf(set);
    const samples = samplesOf(set).length;
    set.close();
    return { ...total, samples };
  }

  test("what finds no room is counted: produced = samples in the rings + lost", () => {
    const { produced, lost, samples } = overflow(false);
    expect(produced).toBe(800);
    expect(lost).toBeGreaterThan(600);
    expect(samples + lost).toBe(produced);
  });

  test("side records that find no room do not count as lost samples", () => {
    const { produced, lost, samples } = overflow(true);
    expect(produced).toBe(800);
    expect(samples + lost).toBe(produced);
  });

  test("once there is room again, a LOST record tells of the gap, and the sums still agree", () => {
    const set = openEvents([OWN_GETPPID()], { ringBytes: 4096, watermarkBytes: 1024 });
    set.enable();
    let samples = 0;
    let told = 0;
    const drain = (): void => {
      for (const { ring } of set.rings) {
        for (const { type, bytes } of recordsOf(ring)) {
          if (type === PERF_RECORD_LOST) told += Number(bytes.getBigUint64(16, true));
          else samples++;
        }
        ring.setTail(ring.head);
      }
    };
    for (let i = 0; i < 5; i++) {
      callGetppid(100);
      drain();
    }
    // Each ring that lost says so before its next record: give every one a next record.
    callGetppid(1);
    set.disable();
    drain();
    const { produced, lost } = totalOf(set);
    expect(produced).toBe(501);
    expect(samples + lost).toBe(produced);
    expect(told).toBeLessThanOrEqual(lost);
    expect(told).toBeGreaterThan(0);
    set.close();
  });
});

describe.skipIf(NO_TRACING !== "")("tasks", () => {
  const workers: Worker[] = [];
  afterAll(() => {
    for (const worker of workers) worker.terminate();
  });

  async function startWorker(): Promise<Worker> {
    const worker = new Worker(new URL("./getppid_worker.ts", import.meta.url), { type: "module" });
    workers.push(worker);
    await once(worker as never, "message");
    return worker;
  }

  async function callIn(worker: Worker, calls: number): Promise<void> {
    const called = once(worker as never, "message");
    worker.postMessage(calls);
    await called;
  }

  const GETPPID_OF_ANY = `raw_syscalls:sys_enter/id==${GETPPID_ID}/`;

  test("pid samples one thread", async () => {
    const worker = await startWorker();
    const set = openEvents([GETPPID_OF_ANY], { pid: process.pid });
    set.enable();
    callGetppid(20);
    await callIn(worker, 30);
    set.disable();
    expect(totalOf(set).produced).toBe(20);
    set.close();
  });

  test("wholeProcess samples all threads, those to come too, and no other process", async () => {
    const worker = await startWorker();
    const set = openEvents([GETPPID_OF_ANY], {
      pid: process.pid,
      wholeProcess: true,
      taskNames: true,
    });
    set.enable();
    callGetppid(20);
    await callIn(worker, 30);
    // dash asks for its parent when it starts: a child process is not this process.
    spawnSync("/bin/sh", ["-c", ":"]);
    const later = await startWorker();
    await callIn(later, 50);
    set.disable();
    expect(totalOf(set)).toEqual({ produced: 100, lost: 0 });
    const tids = samplesOf(set).map((record) => readSysEnter(record, set.sampleType).commonPid);
    expect(new Set(tids).size).toBe(3);
    set.close();
  });

  for (const wholeProcess of [false, true]) {
    test(`a set whose task ended stops waking its reader (${wholeProcess})`, async () => {
      const child = spawn("/bin/sleep", ["60"]);
      const set = openEvents(["raw_syscalls:sys_enter"], { pid: child.pid!, wholeProcess });
      set.enable();
      const poll = new PollSet();
      set.register(poll);
      expect(poll.count).toBe(set.rings.length);
      set.noteHangUps(poll);
      expect(set.hasEnded).toBe(false);
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
      for (let rounds = 0; !set.hasEnded; rounds++) {
        expect(rounds).toBeLessThan(10 * set.rings.length);
        poll.clear();
        set.register(poll);
        poll.wait(1000);
        set.noteHangUps(poll);
      }
      poll.clear();
      set.register(poll);
      expect(poll.count).toBe(0);
      expect(totalOf(set).produced).toBeGreaterThanOrEqual(0);
      poll.close();
      set.close();
    });
  }

  test("a set of all tasks never ends", () => {
    const set = openEvents([OWN_GETPPID()]);
    const poll = new PollSet();
    set.register(poll);
    poll.wait(0);
    set.noteHangUps(poll);
    expect(set.hasEnded).toBe(false);
    poll.close();
    set.close();
  });

  for (const wholeProcess of [false, true]) {
    test(`a process that has ended is refused (${wholeProcess})`, () => {
      const { pid } = spawnSync("/bin/true");
      expect(() => openEvents([OWN_GETPPID()], { pid, wholeProcess })).toThrow("ESRCH");
    });
  }
});

describe.skipIf(NO_TRACING !== "")("failures", () => {
  test("a filter that the kernel refuses is a FilterError that names it", () => {
    for (const filter of ["nosuchfield==1", "id==", "id==x", "id=1", "id==1 and id==2"]) {
      try {
        openEvents([`raw_syscalls:sys_enter/${filter}/`]);
        throw new Error("opened");
      } catch (error) {
        expect(error).toBeInstanceOf(FilterError);
        expect((error as Error).message).toStartWith(
          `Cannot set filter "${filter}" of raw_syscalls:sys_enter: the kernel refuses it`,
        );
      }
    }
  });

  test("a CPU that cannot be is an error of perf_event_open", () => {
    expect(() => openEvents([OWN_GETPPID()], { cpus: [8191] })).toThrow(SysError);
  });

  const online = onlineCpus();
  const possible = parseCpuList(readLineOf("/sys/devices/system/cpu/possible"));
  const offline = possible.find((cpu) => !online.includes(cpu));
  // Taking a CPU down would disturb everybody: only where one is down already.
  if (offline !== undefined) {
    test("a CPU that went offline is left out", () => {
      const set = openEvents([OWN_GETPPID()], { cpus: [online[0]!, offline] });
      expect(set.rings.map(({ cpu }) => cpu)).toEqual([online[0]!]);
      set.close();
    });
  }

  test("a ring of a size that perf cannot map is refused", () => {
    expect(() => openEvents([OWN_GETPPID()], { ringBytes: 3 * 4096 })).toThrow(
      "Cannot map a ring of 12288 bytes: EINVAL",
    );
  });

  test("nothing stays open: after close(), after each failure, and after many rounds", () => {
    const before = { fds: tracingDescriptors().length, rings: mappedRings() };
    const failing = [
      () => openEvents(["raw_syscalls:sys_enter/nosuch==1/"], { taskNames: true }),
      () => openEvents(["raw_syscalls:sys_enter,raw_syscalls:sys_exit/nosuch==1/"]),
      () => openEvents([OWN_GETPPID()], { ringBytes: 3 * 4096, taskNames: true }),
      () => openEvents([OWN_GETPPID()], { cpus: [0, 8191] }),
    ];
    for (let i = 0; i < 10; i++) {
      const set = openEvents([OWN_GETPPID(), OWN_GETPGRP()], { taskNames: true });
      expect(mappedRings()).toBe(before.rings + set.rings.length);
      expect(tracingDescriptors().length).toBe(before.fds + 3 * set.rings.length);
      set.close();
      set.close();
      for (const open of failing) expect(open).toThrow();
    }
    expect(tracingDescriptors().length).toBe(before.fds);
    expect(mappedRings()).toBe(before.rings);
  });

  test.skipIf(libcPath() === "")("probes go with their set, and with one that fails", () => {
    const probe = `uprobe:getppid@"${libcPath()}"`;
    const set = openEvents([probe, probe]);
    expect(ownProbes().length).toBe(2);
    set.close();
    expect(ownProbes()).toEqual([]);
    expect(() => openEvents([probe, "raw_syscalls:sys_enter/nosuch==1/"])).toThrow(FilterError);
    expect(ownProbes()).toEqual([]);
  });

  test("probePerfClock() is the same on each CPU, and gives a clock to fit where it must", () => {
    const clocks = onlineCpus().map((cpu) => probePerfClock(cpu));
    for (const clock of clocks) expect(clock).toEqual(clocks[0]!);
    const CLOCK_MONOTONIC_RAW = 4;
    expect(clocks[0]!.clockId).toBe(
      clocks[0]!.source === "exact" ? undefined : CLOCK_MONOTONIC_RAW,
    );
  });
});
