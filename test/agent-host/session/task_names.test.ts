/** Names of tasks: what is kept, for how long, and that it is bounded. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  ENDED_NAMES_MAX,
  TASK_NAMES_MAX,
  TaskNames,
} from "../../../agent-host/session/task_names.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function name(names: TaskNames, tid: number): string | undefined {
  const found = names.get(tid);
  return found === undefined ? undefined : new TextDecoder().decode(found);
}

function set(names: TaskNames, tid: number, text: string): void {
  names.set(tid, bytes(text), 0, text.length);
}

function rename(names: TaskNames, tid: number, text: string, sinceCycles: number): void {
  names.set(tid, bytes(text), 0, text.length, sinceCycles);
}

function namesAt(names: TaskNames, tid: number, times: readonly number[]): (string | undefined)[] {
  return times.map((cycles) => {
    const found = names.get(tid, cycles);
    return found === undefined ? undefined : new TextDecoder().decode(found);
  });
}

describe("TaskNames", () => {
  test("set() copies a piece, cut to what the kernel allows a comm", () => {
    const names = new TaskNames();
    const memory = bytes("..a very long name of a task");
    names.set(7, memory, 2, memory.length);
    memory.fill(0);
    expect(name(names, 7)).toBe("a very long nam");
  });

  test("fork() gives a new task its parent's name, and an old one keeps its own", () => {
    const names = new TaskNames();
    set(names, 1, "parent");
    names.fork(2, 1);
    names.fork(3, 99);
    set(names, 2, "child");
    names.fork(2, 1);
    expect([name(names, 2), name(names, 3)]).toEqual(["child", undefined]);
  });

  test("exit() keeps the name for the task's last events, until its id is used again", () => {
    const names = new TaskNames();
    set(names, 1, "parent");
    set(names, 2, "short");
    names.exit(2, 10);
    expect(name(names, 2)).toBe("short");
    names.fork(2, 1, 20);
    expect(name(names, 2)).toBe("parent");
    names.exit(3, 30);
    expect(names.size).toBe(2);
  });

  test("ended tasks are forgotten in the order of their ends", () => {
    const names = new TaskNames();
    for (let tid = 0; tid <= ENDED_NAMES_MAX; tid++) {
      set(names, tid, "x");
      names.exit(tid, tid);
    }
    expect([name(names, 0), name(names, 1)]).toEqual([undefined, "x"]);
    expect(names.size).toBe(ENDED_NAMES_MAX);
  });

  test("get() gives the name that a task had at a time", () => {
    const names = new TaskNames();
    set(names, 1, "bash");
    names.fork(2, 1, 100);
    const renamed = bytes("make");
    names.set(2, renamed, 0, renamed.length, 150);
    const at = (tid: number, cycles: number): string =>
      new TextDecoder().decode(names.get(tid, cycles));
    expect([at(2, 50), at(2, 100), at(2, 149), at(2, 150), at(2, 1e9)]).toEqual([
      ...["bash", "bash", "bash", "make", "make"],
    ]);
    names.exit(2, 200);
    names.fork(2, 1, 300);
    expect([at(2, 299), at(2, 300), at(1, 0)]).toEqual(["make", "bash", "bash"]);
  });

  test("set() keeps the last few names of a task, and a snapshot's name replaces them all", () => {
    const names = new TaskNames();
    for (let i = 0; i < 100; i++) names.set(1, bytes(String(i)), 0, 2, i * 10);
    expect([name(names, 1), names.get(1, 0)]).toEqual(["99", bytes("96")]);
    set(names, 1, "99");
    expect(names.get(1, 0)).toEqual(bytes("96"));
    set(names, 1, "new");
    expect(names.get(1, 0)).toEqual(bytes("new"));
  });

  test("set() a COMM read after a newer one is the name until then: another CPU's ring", () => {
    const names = new TaskNames();
    rename(names, 7, "sleep", 300);
    rename(names, 7, "taskset", 100);
    rename(names, 7, "bash", 200);
    expect(name(names, 7)).toBe("sleep");
    expect(namesAt(names, 7, [99, 100, 199, 200, 299, 300])).toEqual([
      ...["taskset", "taskset", "taskset", "bash", "bash", "sleep"],
    ]);
    for (const since of [50, 60, 250, 260, 270]) rename(names, 7, `at ${since}`, since);
    expect(namesAt(names, 7, [0, 255, 265, 275, 300])).toEqual([
      ...["at 250", "at 250", "at 260", "at 270", "sleep"],
    ]);
  });

  test("fork() read after a newer COMM is the name until then", () => {
    const names = new TaskNames();
    set(names, 1, "bash");
    rename(names, 7, "sleep", 300);
    names.fork(7, 1, 100);
    expect(namesAt(names, 7, [150, 300, 400])).toEqual(["bash", "sleep", "sleep"]);
  });

  test("fork() read after the child's EXIT leaves it ended, with the name that it had last", () => {
    const names = new TaskNames();
    set(names, 1, "bash");
    rename(names, 7, "sleep", 200);
    names.exit(7, 300);
    names.fork(7, 1, 100);
    names.fork(8, 1, 350);
    names.exit(9, 360);
    names.fork(9, 1, 350);
    expect(namesAt(names, 7, [100, 200, 400])).toEqual(["bash", "sleep", "sleep"]);
    expect(name(names, 9)).toBe("bash");
    // 7 and 9 are forgotten for others that end, 8 lives on.
    for (let tid = 100; tid < 100 + ENDED_NAMES_MAX; tid++) names.exit(tid, 400);
    expect([7, 8, 9].map((tid) => name(names, tid))).toEqual([undefined, "bash", undefined]);
  });

  test("exit() read after the next use of the id began is that of the use before", () => {
    const names = new TaskNames();
    set(names, 1, "bash");
    rename(names, 7, "old", 100);
    names.fork(7, 1, 300);
    names.exit(7, 200);
    for (let tid = 100; tid < 101 + ENDED_NAMES_MAX; tid++) names.exit(tid, 400);
    expect(name(names, 7)).toBe("bash");
  });

  test("fork() a snapshot's name is later than the fork", () => {
    const names = new TaskNames();
    set(names, 1, "bash");
    set(names, 7, "sleep");
    names.fork(7, 1, 100);
    expect(name(names, 7)).toBe("sleep");
    names.exit(7, 200);
    names.fork(7, 1, 300);
    expect(name(names, 7)).toBe("bash");
  });

  test("fork() children have the name that their parent had, read before it or after", () => {
    const names = new TaskNames();
    rename(names, 1, "bash", 10);
    names.fork(2, 1, 90);
    names.fork(3, 1, 120);
    names.fork(4, 1, 220);
    names.fork(5, 6, 120);
    rename(names, 3, "own", 130);
    rename(names, 1, "gone", 200);
    rename(names, 1, "qemu", 100);
    rename(names, 6, "late", 100);
    expect([2, 3, 4, 5].map((tid) => name(names, tid))).toEqual(["bash", "own", "gone", "late"]);
    expect(namesAt(names, 3, [120, 130])).toEqual(["qemu", "own"]);
    rename(names, 1, "renamed", 210);
    expect(name(names, 4)).toBe("renamed");
  });

  test("names do not depend on the order in which the rings are read", () => {
    const record = fc.record({
      kind: fc.constantFrom("comm", "fork"),
      text: fc.string({ minLength: 1, maxLength: 15, unit: "grapheme-ascii" }),
    });
    // A task has at most as many names as are kept.
    const lives = fc.uniqueArray(record, { maxLength: 4, selector: ({ text }) => text });
    fc.assert(
      fc.property(
        fc.array(lives, { maxLength: 5 }),
        fc.infiniteStream(fc.nat()),
        (tasks, order) => {
          const steps = tasks.flatMap((records, i) =>
            records.map(({ kind, text }, at) => (names: TaskNames): void => {
              const since = (at + 1) * 10;
              if (kind === "fork") names.fork(i, 1000, since);
              else rename(names, i, text, since);
            }),
          );
          const inOrder = new TaskNames();
          const shuffled = new TaskNames();
          for (const names of [inOrder, shuffled]) set(names, 1000, "parent");
          for (const step of steps) step(inOrder);
          const keys = new Map(steps.map((step) => [step, order.next().value]));
          const byKey = [...steps].sort((a, b) => keys.get(a)! - keys.get(b)!);
          for (const step of byKey) step(shuffled);
          for (let i = 0; i < tasks.length; i++) {
            expect(namesAt(shuffled, i, [0, 10, 20, 30, 40])).toEqual(
              namesAt(inOrder, i, [0, 10, 20, 30, 40]),
            );
          }
        },
      ),
    );
  });

  test("names beyond the limit are refused and counted; ended ones make room first", () => {
    const names = new TaskNames();
    for (let tid = 0; tid < TASK_NAMES_MAX; tid++) set(names, tid, "x");
    set(names, TASK_NAMES_MAX, "new");
    expect([name(names, TASK_NAMES_MAX), names.refused]).toEqual([undefined, 1]);
    set(names, 5, "renamed");
    expect(name(names, 5)).toBe("renamed");
    names.exit(6, 10);
    set(names, TASK_NAMES_MAX, "new");
    expect([name(names, TASK_NAMES_MAX), name(names, 6)]).toEqual(["new", undefined]);
    expect([names.refused, names.size]).toEqual([1, TASK_NAMES_MAX]);
  });

  test("does what a map does that forgets nothing, below its limits", () => {
    const step = fc.record({
      what: fc.constantFrom("set", "fork", "exit"),
      tid: fc.nat(8),
      other: fc.nat(8),
      text: fc.string({ minLength: 1, maxLength: 15, unit: "grapheme-ascii" }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const names = new TaskNames();
        const model = new Map<number, string>();
        const alive = new Set<number>();
        for (const { what, tid, other, text } of steps) {
          if (what === "set") {
            set(names, tid, text);
            model.set(tid, text);
            alive.add(tid);
          } else if (what === "fork") {
            names.fork(tid, other);
            const parent = model.get(other);
            if (parent !== undefined && !alive.has(tid)) {
              model.set(tid, parent);
              alive.add(tid);
            }
          } else {
            names.exit(tid, Infinity);
            alive.delete(tid);
          }
        }
        for (let tid = 0; tid <= 8; tid++) expect(name(names, tid)).toBe(model.get(tid));
      }),
      { numRuns: 500 },
    );
  });
});
