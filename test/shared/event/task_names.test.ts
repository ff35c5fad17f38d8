/** Names of the tasks that exist: those of /proc, in batches, whatever comes and goes meanwhile. */
import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  snapshotTaskNames,
  TASK_NAMES_MAX,
  TASKS_PER_MESSAGE_MAX,
} from "../../../shared/event/task_names.ts";

function allNames(): Map<number, string> {
  const names = new Map<number, string>();
  for (const batch of snapshotTaskNames()) {
    for (const { pid, comm } of batch) names.set(pid, new TextDecoder().decode(comm));
  }
  return names;
}

describe("snapshotTaskNames", () => {
  test("snapshotTaskNames() gives every thread's comm, without the line's end", () => {
    const names = allNames();
    for (const pid of [1, process.pid]) {
      expect(names.get(pid)).toBe(readFileSync(`/proc/${pid}/comm`, "utf8").slice(0, -1));
    }
    // The runtime has threads of its own.
    expect(names.size).toBeGreaterThan(2);
  });

  test("snapshotTaskNames() gives names as the bytes that they are", async () => {
    const child = spawn("/bin/sh", [
      "-c",
      "printf 'a\\033\\377b' > /proc/$$/comm; echo; read line",
    ]);
    await once(child.stdout!, "data");
    const found = [...snapshotTaskNames()].flat().find(({ pid }) => pid === child.pid);
    expect([...found!.comm]).toEqual([0x61, 0x1b, 0xff, 0x62]);
    child.kill();
  });

  test("snapshotTaskNames() keeps its batches small, of a process with many threads too", () => {
    for (const batch of snapshotTaskNames()) {
      expect(batch.length).toBeLessThanOrEqual(TASKS_PER_MESSAGE_MAX);
      expect(batch.length).toBeGreaterThan(0);
    }
    expect(TASK_NAMES_MAX % TASKS_PER_MESSAGE_MAX).toBe(0);
  });

  test("snapshotTaskNames() goes on when tasks end between two batches", async () => {
    const child = spawn("/bin/sleep", ["60"]);
    const names = snapshotTaskNames();
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    expect(() => [...names]).not.toThrow();
  });
});
