/**
 * README's event chapter tells the truth: each of its commands is run, with the binaries that it is
 * about and a guest behind port 9900, and prints the lines that it shows; each value in its tables
 * is computed.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { evaluationOf } from "../../agent-host/session/evaluation.ts";
import { TaskNames } from "../../agent-host/session/task_names.ts";
import { EvalContext } from "../../shared/expr/eval_context.ts";
import { compileExpr } from "../../shared/expr/expression.ts";
import { ByteWriter } from "../../shared/text/byte_writer.ts";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { libcPath, NO_TRACING } from "../shared/event/kernel.ts";
import { agentBinary } from "../vm/agents.ts";
import { waitUntil, withDeadline } from "../vm/deadline.ts";
import { ended, Workspace } from "../vm/workspace.ts";
import { consoleExamples, linePattern, valueExamples } from "./examples.ts";

const README = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const EVENTS = README.slice(README.indexOf("\n## Events"), README.indexOf("\n## Sinks"));
const COMMAND_MS_MAX = 60_000;
/** Opens, executes, forks, allocates and sleeps, for whatever the examples trace. */
const LOAD = "while :; do cat /etc/hostname /etc/passwd >/dev/null; done";

setDefaultTimeout(120_000);

describe("linePattern()", () => {
  test("takes other numbers, names and columns for what they are", () => {
    const line =
      "2026-11-25 19:12:36.454637                cat  20355 ...1 [000] 4051.185097: " +
      "sched:sched_process_exec: filename=/usr/bin/cat pid=20355 old_pid=20355";
    const other = line.replace("     cat  20355", "  ls a b     77").replace("pid=20355", "pid=1");
    expect(linePattern(line).test(other)).toBe(true);
    expect(linePattern(line).test(other.replace("exec", "exit"))).toBe(false);
    expect(linePattern(line).test(other.replace("7 2026", "7 G"))).toBe(true);
    expect(linePattern("a => b   12   3.5").test("  a => b 9 11.25")).toBe(true);
    expect(linePattern("a => b   12   3.5").test("a => c 12 3.5")).toBe(false);
    expect(linePattern("---- ---").test("-------  ---------")).toBe(true);
  });

  test("keeps a guest's event apart from the host's", () => {
    const line = "2026-11-25 19:26:01.120317 G  <idle>  0 d.s. [000] 1.850777: irq:x: vec=9";
    expect(linePattern(line).test(line.replace(" G ", "   "))).toBe(false);
  });
});

describe.skipIf(NO_TRACING !== "")("README, commands of the event chapter", () => {
  let workspace: Workspace;
  let load: ChildProcess;
  let socket: string;

  beforeAll(async () => {
    workspace = new Workspace();
    // Unlike the agents, the load is a whole tree of processes: it goes as a group.
    load = spawn("/bin/sh", ["-c", LOAD], { stdio: "ignore", detached: true });
    socket = workspace.file("guest.sock");
    const events = `irq:softirq_*//push="unix:${socket}"/`;
    workspace.spawn(agentBinary("agent-guest"), ["trace", "-e", events], { stdio: "ignore" });
    await waitUntil(() => existsSync(socket), 20_000, "the guest's socket");
  });

  afterAll(async () => {
    process.kill(-load.pid!, "SIGKILL");
    await workspace.dispose();
  });

  /** Both outputs of a command that README shows. */
  async function run(command: string): Promise<string> {
    const here = command
      .replaceAll("9900", `unix:${socket}`)
      .replaceAll("/lib/x86_64-linux-gnu/libc.so.6", libcPath());
    const path = `${dirname(agentBinary("agent-host"))}:${process.env.PATH}`;
    const child = workspace.spawn("/bin/sh", ["-c", `exec ${here}`], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH: path },
    });
    let output = "";
    const append = (bytes: Uint8Array): void => {
      output += Buffer.from(bytes).toString("latin1");
    };
    child.stdout?.on("data", append);
    child.stderr?.on("data", append);
    await withDeadline(ended(child), COMMAND_MS_MAX, `"${command}" to end`);
    return output;
  }

  const hasKprobes = NO_TRACING === "" && existsSync(`${Tracefs.open().root}/kprobe_events`);
  for (const { command, lines } of consoleExamples(EVENTS)) {
    const isKprobe = command.includes("kprobe:");
    if (isKprobe && !hasKprobes) console.warn(`skipped: "${command}": this kernel has no kprobes`);
    test.skipIf(isKprobe && !hasKprobes)(command, async () => {
      expect(lines.length).toBeGreaterThan(0);
      const output = await run(command);
      const printed = output.split("\n");
      for (const line of lines) {
        const pattern = linePattern(line);
        const isThere = printed.some((text) => pattern.test(text));
        if (!isThere) throw new Error(`Not printed: ${line}\n${pattern}\nbut this:\n${output}`);
      }
    });
  }
});

test("README, the event chapter has examples of every kind", () => {
  const commands = consoleExamples(EVENTS).map(({ command }) => command);
  expect(commands.length).toBeGreaterThan(10);
  for (const word of ["list", "trace", "multi-trace", "pull=", "role=", "printkey=", "uprobe:"]) {
    expect(commands.some((command) => command.includes(word))).toBe(true);
  }
  expect(valueExamples(EVENTS).length).toBeGreaterThan(12);
});

describe("README, values of expressions", () => {
  const { functions } = evaluationOf({
    names: new TaskNames(),
    symbols: undefined,
    architecture: "x86_64",
  });
  for (const { expression, value } of valueExamples(EVENTS)) {
    test(`${expression} is ${value}`, () => {
      let written = "";
      const context = new EvalContext();
      context.out = new ByteWriter(4096, (bytes) => {
        written += new TextDecoder().decode(bytes);
      });
      const compiled = compileExpr(expression, undefined, [], functions);
      compiled.evaluate(context);
      context.out.flush();
      const { textBytes, textFrom, textTo, hi } = context;
      const text = new TextDecoder().decode(textBytes.subarray(textFrom, textTo));
      const number = String((BigInt(hi) << 32n) | BigInt(compiled.lo >>> 0));
      const isWritten = expression.startsWith("printf");
      const got = isWritten ? `"${written}"` : compiled.kind === "text" ? `"${text}"` : number;
      expect(got).toBe(value);
    });
  }
});

test("README names every attribute, variable and function that there is", async () => {
  const { FUNCTION_SIGNATURES, formatScope } = await import("../../shared/expr/scope.ts");
  const { ATTRIBUTE_NAMES } = await import("../../shared/event/spec.ts");
  for (const name of ATTRIBUTE_NAMES) expect(EVENTS).toMatch(new RegExp(`\`${name}\\b`));
  for (const name of FUNCTION_SIGNATURES.keys()) expect(EVENTS).toContain(`\`${name}(`);
  for (const name of formatScope(undefined).names) expect(EVENTS).toContain(`\`${name}\``);
});
