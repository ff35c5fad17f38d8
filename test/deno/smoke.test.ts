/**
 * The same source under Deno: one agent pushes a real tracepoint of this machine to a unix socket,
 * the other pulls and prints it. Everything else is tested under Bun.
 */
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitUntil } from "../vm/deadline.ts";

const DENO = join(import.meta.dirname, "../../node_modules/.bin/deno");
const ROOT = join(import.meta.dirname, "../..");
const DEADLINE_MS = 30_000;
const folder = mkdtempSync(join(tmpdir(), "vmspan-deno-"));
const socket = join(folder, "guest.sock");

afterAll(() => rmSync(folder, { recursive: true }));

function run(program: string, ...args: string[]) {
  return Bun.spawn([DENO, "run", "-A", `${program}/main.ts`, ...args], {
    cwd: ROOT,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

test("agent-guest and agent-host run under Deno, from a tracepoint to a printed line", async () => {
  const guest = run("agent-guest", "trace", "-e", `sched:sched_switch//push=unix:${socket}/`);
  await waitUntil(() => existsSync(socket), DEADLINE_MS, "the guest's socket");
  const host = run(
    "agent-host",
    "trace",
    "-e",
    `sched:sched_switch//pull=unix:${socket}/`,
    "-N",
    "5",
  );
  const [lines, notes] = await Promise.all([
    new Response(host.stdout).text(),
    new Response(host.stderr).text(),
  ]);
  expect({ code: await host.exited, notes }).toMatchObject({ code: 0 });
  const layout =
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} G .{16} +\d+ \S{4,5} \[\d{3}\] \d+\.\d{6}: sched:sched_switch: prev_comm=.* next_prio=\d+$/;
  const printed = lines.trimEnd().split("\n");
  expect(printed).toHaveLength(5);
  for (const line of printed) expect(line).toMatch(layout);
  expect(notes).toContain("ledger: balances");
  guest.kill("SIGTERM");
  const ledger = await new Response(guest.stderr).text();
  expect({ code: await guest.exited, ledger }).toMatchObject({ code: 0 });
}, 60_000);

test("--version and --help run under Deno", async () => {
  for (const program of ["agent-guest", "agent-host"]) {
    const version = run(program, "--version");
    expect(await new Response(version.stdout).text()).toMatch(
      new RegExp(`^${program} \\S+ \\(deno\\)\n$`),
    );
    const help = run(program, "--help");
    expect(await new Response(help.stdout).text()).toContain("Commands:");
    expect(await help.exited).toBe(0);
  }
}, 60_000);
