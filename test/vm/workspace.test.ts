/** Scratch folders and children are gone however the process that made them ends. */
import { describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitUntil } from "./deadline.ts";
import { LineLog } from "./line_log.ts";
import { ended, Workspace } from "./workspace.ts";

const MODULE = join(import.meta.dirname, "workspace.ts");
const SCRIPT = `
  import { Workspace } from ${JSON.stringify(MODULE)};
  const workspace = new Workspace();
  const child = workspace.spawn("sleep", ["600"], { stdio: "ignore" });
  console.log(workspace.path + " " + child.pid);
  await new Promise(() => setInterval(() => {}, 1000));
`;

/** Running, and neither a zombie nor about to become one. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

async function startOwner(): Promise<{ owner: ChildProcess; path: string; pid: number }> {
  const owner = spawn(process.execPath, ["-e", SCRIPT], { stdio: ["ignore", "pipe", "inherit"] });
  const log = new LineLog("owner");
  owner.stdout?.on("data", (bytes: Uint8Array) => log.append(bytes));
  const [path, pid] = (await log.waitForLine(/ \d+$/, 10_000)).split(" ");
  return { owner, path: path!, pid: Number(pid) };
}

describe("Workspace", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
    test(`leaves no child behind when its process gets ${signal}`, async () => {
      const { owner, path, pid } = await startOwner();
      expect(isAlive(pid)).toBe(true);
      const end = ended(owner);
      owner.kill(signal);
      await end;
      await waitUntil(() => !isAlive(pid), 5_000, "the child to end");
      if (signal === "SIGKILL") {
        new Workspace().abandon(); // sweeps what the killed process could not remove
      }
      expect(existsSync(path)).toBe(false);
    });
  }

  test("ended() waits for what a process that has exited left in its output", async () => {
    const workspace = new Workspace();
    const fifo = workspace.file("fifo");
    const script = `mkfifo ${fifo}; (read -r line <${fifo}; echo $line) & exit 3`;
    const child = workspace.spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "ignore"] });
    const log = new LineLog("child");
    child.stdout?.on("data", (bytes: Uint8Array) => log.append(bytes));
    await waitUntil(() => child.exitCode !== null, 5_000, "the child to exit");
    const end = ended(child);
    writeFileSync(fifo, "late\n");
    await end;
    expect(log.lines).toEqual(["late"]);
    await workspace.dispose();
  });

  test("dispose() ends children and removes the folder", async () => {
    const workspace = new Workspace();
    const child = workspace.spawn("sleep", ["600"], { stdio: "ignore" });
    await waitUntil(() => isAlive(child.pid!), 5_000, "the child to start");
    await workspace.dispose();
    expect(isAlive(child.pid!)).toBe(false);
    expect(existsSync(workspace.path)).toBe(false);
  });

  test("does not sweep folders of processes that live", () => {
    const mine = new Workspace();
    const other = new Workspace();
    expect(existsSync(mine.path)).toBe(true);
    other.abandon();
    mine.abandon();
    rmSync(mine.path, { recursive: true, force: true });
  });
});
