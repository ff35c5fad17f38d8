/** The command `list` of both agents, on this kernel's events, a guest's stream and a recording. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { EXIT } from "../../../shared/cli/failure.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { NO_TRACING } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentName, runAgent, startAgent } from "../support/agent_process.ts";
import { FAKE_EVENT, markerRecord, recording } from "../support/guest_stream.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

async function list(args: readonly string[], agent: AgentName = "agent-host") {
  return await runAgent(workspace, agent, ["list", ...args]);
}

interface JsonEvent {
  readonly event: string;
  readonly id: number;
  readonly fields: readonly {
    readonly name: string;
    readonly offset: number;
    readonly size: number;
    readonly signed: boolean;
  }[];
}

/** Fields as the kernel's own text has them, found by another way than the parser's. */
function fieldsInText(text: string): string[] {
  const FIELD =
    /^\tfield:[^;]*?([\w]+)(?:\[[^\]]*\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:([01]);/gm;
  return [...text.matchAll(FIELD)].map(([, ...parts]) => parts.join(" "));
}

describe.skipIf(NO_TRACING !== "")("list", () => {
  test("names every event of the kernel, by both agents, sorted, one a line", async () => {
    const [host, guest] = [await list([]), await list([], "agent-guest")];
    expect([host.code, host.stderr]).toEqual([EXIT.DONE, ""]);
    expect(guest).toEqual(host);
    const lines = host.stdout.split("\n").slice(0, -1);
    const names = lines.map((line) => line.split(" ")[0]!);
    expect(names).toEqual([...names].sort());
    const tracefs = Tracefs.open();
    // Probes of other tests come and go.
    const isLasting = (name: string): boolean => !/^(?:vmspan_|uprobes:|kprobes:)/.test(name);
    const there = tracefs.find("*:*").map(({ system, name }) => `${system}:${name}`);
    expect(names.filter(isLasting)).toEqual(there.filter(isLasting).sort());
  });

  test("--json tells every field of every event as the kernel does", async () => {
    const { stdout } = await list(["--json"]);
    const events = stdout
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as JsonEvent);
    expect(events.length).toBeGreaterThan(100);
    const { root } = Tracefs.open();
    let compared = 0;
    for (const { event, fields, id } of events) {
      if (event.startsWith("uprobes:") || event.startsWith("kprobes:")) continue;
      const text = readFileSync(`${root}/events/${event.replace(":", "/")}/format`, "latin1");
      const ours = fields.map(({ name, offset, size, signed }) => {
        return `${name} ${offset} ${size} ${signed ? 1 : 0}`;
      });
      expect([event, ...ours]).toEqual([event, ...fieldsInText(text)]);
      expect(text).toContain(`\nID: ${id}\n`);
      compared += fields.length;
    }
    console.log(`list: ${events.length} events, ${compared} fields as in their format files`);
  });

  test("takes names, globs and words, several at once", async () => {
    const { stdout } = await list(["irq:irq_handler_e*", "sched_process_fork"]);
    expect(stdout).toMatch(
      /^irq:irq_handler_entry +irq name\nirq:irq_handler_exit +irq ret\nsched:sched_process_fork +\w.*\n$/,
    );
  });

  test("-v shows where fields lie, and the print format", async () => {
    const { stdout } = await list(["-v", "irq:irq_handler_entry"]);
    expect(stdout).toMatch(/^irq:irq_handler_entry {2}id \d+$/m);
    expect(stdout).toMatch(/^ +8 +4 {2}yes +int +irq$/m);
    expect(stdout).toMatch(/^ {2}print fmt: "irq=%d name=%s", REC->irq, __get_str\(name\)$/m);
  });

  test("--unrendered lists what trace prints as fields, or says that there is none", async () => {
    const { code, stdout, stderr } = await list(["--unrendered"]);
    expect(code).toBe(EXIT.DONE);
    expect(stdout === "" ? stderr : stdout).toMatch(/^(?:all print formats of \d+ |\w+:\w+ +\w)/);
  });

  test("an unknown name exits 1 and says which may be meant", async () => {
    const { code, stdout, stderr } = await list(["sched:*", "sched:sched_swich"]);
    expect({ code, stdout }).toEqual({ code: EXIT.FAILED, stdout: "" });
    expect(stderr).toBe(
      'agent-host: ERROR: Cannot list "sched:sched_swich": no event is called so\n' +
        "HINT: did you mean sched:sched_switch?\n",
    );
  });
});

describe("list --pull", () => {
  test("shows the events of a recording, with its own formats", async () => {
    const file = workspace.file("fake.vms");
    writeFileSync(file, recording([markerRecord(1000, 1)]).bytes);
    expect(await list(["--pull", file])).toMatchObject({
      code: EXIT.DONE,
      stdout: `${FAKE_EVENT}  value text\n`,
      stderr: "",
    });
    expect((await list(["--pull", file, "-v"])).stdout).toContain('print fmt: "value=%d text=%s"');
  });

  test("of what is no source exits 4", async () => {
    const file = workspace.file("text");
    writeFileSync(file, "no stream\n");
    const { code, stderr } = await list(["--pull", file]);
    expect(code).toBe(EXIT.SOURCE);
    expect(stderr).toMatch(/^agent-host: ERROR: Cannot read .*: no stream of agent-guest in it/);
    expect((await list(["--pull", "nowhere"])).code).toBe(EXIT.USAGE);
  });

  test("says after two seconds whom it waits for", async () => {
    const { promise: listening, resolve } = Promise.withResolvers<number>();
    const server = createServer(() => {});
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
    const host = startAgent(workspace, "agent-host", ["list", "--pull", `${await listening}`]);
    await host.said(/^Waiting for agent-guest behind \S+ \(it is connected, and nothing answers/m);
    host.kill("SIGKILL");
    await host.end();
    server.close();
  });

  test.skipIf(NO_TRACING !== "")("says that a guest allows nothing, which says why", async () => {
    const sink = `unix:${workspace.file("none.sock")}`;
    const guest = startAgent(workspace, "agent-guest", ["serve", sink, "--allow", "syscall:*"]);
    await guest.said(/^Waiting for a host/m);
    expect(guest.stderr).toContain(
      'WARNING: allow "syscall:*" is no event of this kernel (did you mean syscalls:*?)',
    );
    const { code, stdout, stderr } = await list(["--pull", sink]);
    expect({ code, stdout }).toEqual({ code: EXIT.SOURCE, stdout: "" });
    expect(stderr).toMatch(/ERROR: Cannot list the events of .*: the guest allows no event$/m);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test.skipIf(NO_TRACING !== "")(
    "shows what a guest sends, filters too, and leaves it",
    async () => {
      const path = workspace.file("guest.sock");
      const event = `irq:irq_handler_e*,sched:sched_switch/prev_pid==1/push="unix:${path}"/`;
      const guest = startAgent(workspace, "agent-guest", ["trace", "-e", event]);
      await guest.said(/^Pushing /m);
      for (let turn = 0; turn < 2; turn++) {
        const { code, stdout } = await list(["--pull", `unix:${path}`]);
        expect(code).toBe(EXIT.DONE);
        expect(stdout.split("\n").map((line) => line.split(" ")[0])).toEqual([
          ...["irq:irq_handler_entry", "irq:irq_handler_exit", "sched:sched_switch", ""],
        ]);
      }
      const { stdout } = await list(["--pull", `unix:${path}`, "-v", "switch"]);
      expect(stdout).toContain("\n  filter: prev_pid==1\n");
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    },
  );
});
