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
    names.exit(2);
    expect(name(names, 2)).toBe("short");
    names.fork(2, 1);
    expect(name(names, 2)).toBe("parent");
    names.exit(3);
    expect(names.size).toBe(2);
  });

  test("ended tasks are forgotten in the order of their ends", () => {
    const names = new TaskNames();
    for (let tid = 0; tid <= ENDED_NAMES_MAX; tid++) {
      set(names, tid, "x");
      names.exit(tid);
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
    names.exit(2);
    names.fork(2, 1, 300);
    expect([at(2, 299), at(2, 300), at(1, 0)]).toEqual(["make", "bash", "bash"]);
  });

  test("set() keeps the last few names of a task, and a snapshot's name replaces them all", () => {
    const names = new TaskNames();
    for (let i = 0; i < 100; i++) names.set(1, bytes(String(i)), 0, 2, i * 10);
    expect([name(names, 1), names.get(1, 0)]).toEqual(["99", bytes("96")]);
    set(names, 1, "new");
    expect(names.get(1, 0)).toEqual(bytes("new"));
  });

  test("names beyond the limit are refused and counted; ended ones make room first", () => {
    const names = new TaskNames();
    for (let tid = 0; tid < TASK_NAMES_MAX; tid++) set(names, tid, "x");
    set(names, TASK_NAMES_MAX, "new");
    expect([name(names, TASK_NAMES_MAX), names.refused]).toEqual([undefined, 1]);
    set(names, 5, "renamed");
    expect(name(names, 5)).toBe("renamed");
    names.exit(6);
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
            names.exit(tid);
            alive.delete(tid);
          }
        }
        for (let tid = 0; tid <= 8; tid++) expect(name(names, tid)).toBe(model.get(tid));
      }),
      { numRuns: 500 },
    );
  });
});
