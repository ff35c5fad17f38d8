/** Names of the tasks that exist: those of /proc, in batches, whatever comes and goes meanwhile. */
import { describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  snapshotTaskNames,
  TASK_NAMES_MAX,
  TASKS_PER_MESSAGE_MAX,
} from "../../../shared/event/task_names.ts";
import { ROOT } from "../../tidy/tree.ts";

function allNames(): Map<number, string> {
  const names = new Map<number, string>();
  for (const batch of snapshotTaskNames()) {
    for (const { pid, comm } of batch) names.set(pid, new TextDecoder().decode(comm));
  }
  return names;
}

/**
 * A /proc of its own in which a task without capabilities and root's group sees the folder of
 * process 1 and nothing in it, as where /proc is mounted with hidepid=1. Gives the command that
 * runs what follows there.
 */
const HIDDEN = [
  ...["unshare", "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c"],
  `mount -o remount,hidepid=1 /proc &&
   setpriv --regid 65534 --clear-groups --bounding-set -all --inh-caps -all "$@"
   exit $?`,
  "sh",
];
const cannotHide = spawnSync(HIDDEN[0]!, [...HIDDEN.slice(1), "true"]).status !== 0;
if (cannotHide) console.warn("skipped: hidden processes: unshare wants root");

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

  test.skipIf(cannotHide)(
    "snapshotTaskNames() passes over processes that are not ours to see",
    () => {
      const program = `
      import { readdirSync } from "node:fs";
      import { readLineOf } from "${join(ROOT, "shared/event/machine.ts")}";
      import { snapshotTaskNames } from "${join(ROOT, "shared/event/task_names.ts")}";
      const pids = [...snapshotTaskNames()].flat().map(({ pid }) => pid);
      const isListed = readdirSync("/proc").includes("1");
      const own = pids.includes(process.pid);
      console.log(JSON.stringify([isListed, pids.includes(1), own, readLineOf("/proc/1/comm")]));
    `;
      const command = [...HIDDEN.slice(1), process.execPath, "-e", program];
      const { stdout, stderr } = spawnSync(HIDDEN[0]!, command, { encoding: "utf8" });
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual([true, false, true, ""]);
    },
  );
});
