/**
 * Results and recordings that go where there is little room, or none in time: what is traced is
 * not held up, memory stays bounded, and what could not be kept is counted.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readSync, writeSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import {
  type AgentProcess,
  END_DEADLINE_MS,
  runAgent,
  startAgent,
} from "../support/agent_process.ts";
import { JsonOutput, pulled, startGuest } from "../support/live.ts";

const CALLS = 100_000;
/** A call beside one that nobody traces: one that waits for a writer takes seconds. */
const PACE_MAX = 500;
/** Of a reader that stops: 84 MB of samples, and three times as much as lines. */
const CALLS_UNREAD = 1_000_000;
/** The agents take 70 MiB each: with all of it kept they would take twice as much, or more. */
const GUEST_BYTES_MAX = 120 * 1024 * 1024;
const HOST_BYTES_MAX = 200 * 1024 * 1024;
const PIPE_BYTES = 64 * 1024;
let workspace: Workspace;
/** Milliseconds that CALLS calls take when nobody traces them. */
let freeMs: number;

function callsMs(count: number): number {
  const startMs = performance.now();
  callGetppid(count);
  return performance.now() - startMs;
}

/** Makes numbered calls, and says how much slower they were than untraced ones. */
function callAtPace(when: string, count: number): void {
  const pace = callsMs(count) / (freeMs * (count / CALLS));
  console.log(`${when}: a call takes x ${pace.toFixed(1)} of an untraced one`);
  expect(pace).toBeLessThan(PACE_MAX);
}

function expectBounded(guest: AgentProcess, host: AgentProcess): void {
  const [guestBytes, hostBytes] = [guest.residentBytes(), host.residentBytes()];
  console.log(`agent-guest ${guestBytes >> 20} MiB, agent-host ${hostBytes >> 20} MiB`);
  expect(guestBytes).toBeLessThan(GUEST_BYTES_MAX);
  expect(hostBytes).toBeLessThan(HOST_BYTES_MAX);
}

/** A pipe whose reader is this test. */
class Pipe {
  readonly writeFd: number;
  readonly #readFd: number;
  readonly #chunks: Buffer[] = [];

  constructor(path: string) {
    execFileSync("mkfifo", [path]);
    this.#readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.writeFd = openSync(path, "w");
  }

  /** Reads what is there; false at the end of it all. */
  read(): boolean {
    const buffer = Buffer.alloc(PIPE_BYTES);
    try {
      const got = readSync(this.#readFd, buffer);
      this.#chunks.push(buffer.subarray(0, got));
      return got > 0;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      return true;
    }
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString("latin1");
  }

  close(): void {
    closeSync(this.#readFd);
  }
}

/** What `script` mounts is there for the command alone, and gone with it. */
function withDisk(bytes: string, script: string): readonly string[] {
  const mount = `mkdir -p disk && mount -t tmpfs -o size=${bytes} none disk`;
  return ["unshare", "--mount", "--", "/bin/sh", "-c", `${mount} && ${script}`, "sh"];
}

/** A file system in a file, mounted for this script alone; what it is to do comes after. */
const MOUNT_DISK = [
  "PATH=$PATH:/usr/sbin:/sbin",
  "truncate -s 32M image && mkfs.ext4 -q -F image && mkdir -p disk && mount -o loop image disk",
].join("\n");

/** Freezes the disk at the first line of `orders`, thaws it at the second, ends at the third. */
const FREEZE_AND_THAW = `${MOUNT_DISK} || exit 99
"$@" & agent=$!
{ sleep 60; fsfreeze -u disk; } >/dev/null 2>&1 & watchdog=$!
read -r line <orders; fsfreeze -f disk && echo Frozen >&2
read -r line <orders; fsfreeze -u disk
read -r line <orders; kill -TERM $agent; wait $agent; code=$?
kill $watchdog; cp disk/x.vms .; umount disk; exit $code`;

/** Why no disk can be frozen here; empty when one can. */
function reasonAgainstFreezing(): string {
  if (NO_TRACING !== "") return NO_TRACING;
  const probe = new Workspace();
  try {
    const script = `${MOUNT_DISK} && fsfreeze -f disk && fsfreeze -u disk && umount disk`;
    execFileSync("unshare", ["--mount", "--", "/bin/sh", "-c", script], {
      cwd: probe.path,
      stdio: "pipe",
    });
    return "";
  } catch (error) {
    return `no disk can be frozen here: ${(error as Error).message.trim()}`;
  } finally {
    probe.abandon();
  }
}

const NO_FREEZING = reasonAgainstFreezing();
if (NO_FREEZING !== "") console.warn(`skipped: a recording on a frozen disk: ${NO_FREEZING}`);

beforeAll(() => {
  workspace = new Workspace();
  callGetppid(CALLS);
  freeMs = callsMs(CALLS);
});

afterAll(() => workspace.dispose());

describe.skipIf(NO_TRACING !== "")("under pressure", () => {
  test("a reader of stdout that stops costs events, which are counted, and nothing else", async () => {
    const place = `unix:${workspace.file("s")}`;
    const guest = await startGuest(workspace, place, ["-m", "64"]);
    const pipe = new Pipe(workspace.file("pipe"));
    const args = ["trace", "-e", pulled(place), "--json"];
    const host = startAgent(workspace, "agent-host", args, { stdoutFd: pipe.writeFd });
    closeSync(pipe.writeFd);
    await host.said(/^Tracing$/m);
    callAtPace("stdout is not read", CALLS_UNREAD);
    expectBounded(guest, host);
    const drained = waitUntil(() => !pipe.read(), END_DEADLINE_MS, "the end of the output");
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    await drained;
    pipe.close();
    const output = new JsonOutput(pipe.text);
    expect(output.verdict).toMatchObject({ state: "balances", delivered: output.numbers.length });
    expect(output.sum("guest 1", "produced")).toBe(CALLS_UNREAD);
    expect(output.sum("guest 1", "lost_kernel")).toBe(CALLS_UNREAD - output.numbers.length);
    expect(new Set(output.numbers).size).toBe(output.numbers.length);
    expect(output.faults).toEqual([]);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("stdout on a full disk is an error; what was written until then is there", async () => {
    const place = `unix:${workspace.file("full")}`;
    const guest = await startGuest(workspace, place);
    const wrapper = withDisk("64k", `"$@" >disk/out; code=$?; cat disk/out; exit $code`);
    const host = startAgent(workspace, "agent-host", ["trace", "-e", pulled(place)], { wrapper });
    await host.said(/^Tracing$/m);
    callAtPace("stdout fills a disk", CALLS);
    expect(await host.end()).toMatchObject({ code: EXIT.FAILED });
    expect(host.stderr).toMatch(/^agent-host: ERROR: Cannot write stdout: ENOSPC \(no space left/m);
    expect(host.stdout).toHaveLength(PIPE_BYTES);
    const lines = host.stdout.split("\n").slice(0, -1);
    expect(lines.every((line) => line.includes("raw_syscalls:sys_enter: NR 110 ("))).toBe(true);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("a recording on a full disk holds what came before, and the ledger says how much", async () => {
    const wrapper = withDisk("300k", `"$@"; code=$?; cp disk/x.vms .; exit $code`);
    const event = `${OWN_GETPPID()}push="disk/x.vms"/`;
    const guest = startAgent(workspace, "agent-guest", ["trace", "-m", "64", "-e", event], {
      wrapper,
    });
    await guest.said(/^Pushing /m);
    // The recording begins a moment later: what matters is that it comes to its end.
    let called = 0;
    await guest.until(() => {
      callGetppid(1000, called);
      called += 1000;
      return guest.stderr.includes("ENOSPC (no space left on device)");
    }, "a full disk");
    expect(await guest.end()).toMatchObject({ code: EXIT.FAILED });
    const path = workspace.file("x.vms");
    expect(existsSync(path)).toBe(true);
    const read = ["trace", "-e", pulled(path), "--json"];
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", read);
    expect({ code, isTold: stderr.includes("it ends in mid-stream") }).toEqual({
      code: EXIT.SOURCE,
      isTold: true,
    });
    const { numbers } = new JsonOutput(stdout);
    expect(numbers.length).toBeGreaterThan(1000);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(guest.stderr).toContain(`forwarded ${numbers.length}\n`);
  });

  test.skipIf(NO_FREEZING !== "")("a disk that does not write holds up nobody", async () => {
    const orders = workspace.file("orders");
    execFileSync("mkfifo", [orders]);
    // Open for both, so that neither end waits for the other.
    const fd = openSync(orders, constants.O_RDWR);
    const order = (): void => {
      writeSync(fd, "go on\n");
    };
    const wrapper = ["unshare", "--mount", "--", "/bin/sh", "-c", FREEZE_AND_THAW, "sh"];
    const event = `${OWN_GETPPID()}push="disk/x.vms"/`;
    const guest = startAgent(workspace, "agent-guest", ["trace", "-m", "64", "-e", event], {
      wrapper,
    });
    await guest.said(/^Pushing /m);
    order();
    await guest.said(/^Frozen$/m);
    callAtPace("the disk is frozen", CALLS);
    order();
    callGetppid(1000, CALLS);
    order();
    expect(await guest.end()).toMatchObject({ code: EXIT.DONE });
    closeSync(fd);
    const read = ["trace", "-e", pulled(workspace.file("x.vms")), "--json"];
    const { code, stdout } = await runAgent(workspace, "agent-host", read);
    expect(code).toBe(EXIT.DONE);
    const output = new JsonOutput(stdout);
    const delivered = output.numbers.length;
    expect(output.verdict).toMatchObject({ state: "balances", delivered });
    expect(new Set(output.numbers).size).toBe(delivered);
    expect(output.sum("guest 1", "lost_kernel")).toBeGreaterThan(0);
    const ledger = /: produced (\d+), lost by the kernel (\d+), dropped 0, forwarded (\d+)$/m;
    const [, produced, lost, forwarded] = ledger.exec(guest.stderr)!.map(Number);
    expect({ forwarded, sum: lost! + forwarded! }).toEqual({
      forwarded: delivered,
      sum: produced!,
    });
  });
});
