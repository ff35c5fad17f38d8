/** LocalProcesses: maps that compilers write into /tmp, where everybody may write anything. */
import { afterEach, describe, expect, test } from "bun:test";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import process from "node:process";
import { LocalProcesses } from "../../../shared/symbol/local_processes.ts";
import type { CodeMapping } from "../../../shared/symbol/process_maps.ts";

const OTHER_UID = 65534;
const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.warn("skipped: files of other users: making them wants root");
const MAP = "5000 100 jitted\n";
const JITTED: CodeMapping = {
  start: 0x5000,
  end: 0x6000,
  fileOffset: 0,
  file: "",
  path: "",
  isDeleted: false,
};

const children: ChildProcess[] = [];
const paths: string[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const path of paths.splice(0)) rmSync(path, { force: true, recursive: true });
});

/** A live process of a user, and where its compiler would write. */
function liveProcess(uid?: number): { readonly pid: number; readonly path: string } {
  const child = spawn("sleep", ["600"], uid === undefined ? {} : { uid });
  children.push(child);
  const path = `/tmp/perf-${child.pid}.map`;
  paths.push(path);
  return { pid: child.pid!, path };
}

function nameIn(pid: number): string | undefined {
  return new LocalProcesses().symbolAt(pid, JITTED, 0x5010)?.name;
}

describe("LocalProcesses and /tmp/perf-PID.map", () => {
  test("symbolAt() takes the word of the process's user", () => {
    const { pid, path } = liveProcess();
    writeFileSync(path, MAP);
    expect(nameIn(pid)).toBe("jitted");
  });

  test.skipIf(!isRoot)("symbolAt() takes the word of no other user, root apart", () => {
    const { pid, path } = liveProcess();
    writeFileSync(path, MAP);
    chownSync(path, OTHER_UID, OTHER_UID);
    expect(nameIn(pid)).toBeUndefined();
    const other = liveProcess(OTHER_UID);
    writeFileSync(other.path, MAP);
    expect(nameIn(other.pid)).toBe("jitted");
    chownSync(other.path, OTHER_UID, OTHER_UID);
    expect(nameIn(other.pid)).toBe("jitted");
  });

  test("symbolAt() does not wait for the writer of a FIFO", () => {
    const { pid, path } = liveProcess();
    execFileSync("mkfifo", [path]);
    // Whoever reads it gets this at once, so that a fault does not hang the test.
    const writer = spawn("sh", ["-c", `printf '${MAP}' > "$0"`, path]);
    children.push(writer);
    expect(nameIn(pid)).toBeUndefined();
  });

  test("symbolAt() goes on without a file that is larger than memory", () => {
    const { pid, path } = liveProcess();
    writeFileSync(path, MAP);
    truncateSync(path, 100 * 2 ** 30);
    expect(nameIn(pid)).toBeUndefined();
  });

  test("symbolAt() follows no symbolic link", () => {
    const { pid, path } = liveProcess();
    const target = `${path}.target`;
    paths.push(target);
    writeFileSync(target, MAP);
    symlinkSync(target, path);
    expect(nameIn(pid)).toBeUndefined();
  });
});
