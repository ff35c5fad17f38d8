/**
 * A guest of libvirt: a real libvirtd defines and starts a domain with the XML of README, whose
 * init starts `agent-guest serve`. Which VM is behind the channel, and --vm by name and by UUID.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { agentBinary } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { domainXml, freePort, Libvirt, libvirtProblem, readmeChannel } from "./libvirt.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";
import { Workspace } from "./workspace.ts";

const NAME = "vmspan & libvirt";
const XML_NAME = "vmspan &amp; libvirt";
const UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
const BOOT_DEADLINE_MS = 90_000;
/** The shell of the other guests is not wanted: the init's agent is all there is. */
const START = "#!/bin/sh\nwhile :; do sleep 1000; done\n";
const COMMAND_LINE = "console=ttyS0 loglevel=5 panic=-1 rdinit=/init tsc=reliable vmspan.serve";
const EVENTS = 3;

const PROBLEM = libvirtProblem();
if (PROBLEM !== "") console.log(`skipped, libvirt: ${PROBLEM}`);

setDefaultTimeout(180_000);

describe.skipIf(PROBLEM !== "")("a domain of libvirt", () => {
  const workspace = new Workspace();
  let libvirt: Libvirt;
  let port: number;
  let pid: number;

  beforeAll(async () => {
    ensureTracingMounts();
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const initramfsPath = buildInitramfs(prerequisites, {
      programs: [agentBinary("agent-guest")],
      files: { "/etc/vmspan/start": START },
    });
    port = await freePort();
    const consolePath = workspace.file("console");
    const xmlPath = workspace.file("domain.xml");
    writeFileSync(consolePath, "");
    const devices = readmeChannel(port);
    const parts = { prerequisites, initramfsPath, consolePath, devices };
    const names = { name: XML_NAME, uuid: UUID, commandLine: COMMAND_LINE };
    writeFileSync(xmlPath, domainXml({ ...parts, ...names }));
    libvirt = await Libvirt.start(workspace);
    pid = libvirt.boot(NAME, xmlPath);
    const isUp = (): boolean => readFileSync(consolePath, "utf8").includes("Waiting for a host");
    await waitUntil(isUp, BOOT_DEADLINE_MS, "agent-guest serve in the domain");
  });

  afterAll(async () => {
    libvirt?.close();
    await workspace.dispose();
  });

  /** What `agent-host clock` says of the channel. */
  function clock(...args: readonly string[]) {
    const host = agentBinary("agent-host");
    const { status, stdout, stderr } = libvirt.run(
      ...([host, "clock", `${port}`, "--for", "3", "--json", ...args] as const),
    );
    if (status !== 0) throw new Error(`agent-host ended with ${status}: ${stderr}`);
    return JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
  }

  test("the VM behind the channel is found by its socket, and named by name and UUID", () => {
    expect(pid).toBeGreaterThan(1);
    const vm = { machine: "guest 1", vm_pid: pid, vm_name: NAME };
    expect(clock()).toMatchObject(vm);
    expect(clock("--vm", UUID.toUpperCase())).toMatchObject(vm);
  });

  test("--vm NAME traces it, and a wrong name lists it", () => {
    const host = agentBinary("agent-host");
    const events = ["-e", `irq:irq_handler_entry//pull=${port}/`, "-N", `${EVENTS}`];
    const traced = libvirt.run(host, "trace", ...events, "--vm", NAME);
    expect(traced.stderr).toContain("ledger: balances");
    expect(traced.status).toBe(0);
    const lines = traced.stdout.trimEnd().split("\n");
    expect(lines.length).toBe(EVENTS);
    for (const line of lines) expect(line).toMatch(/ G .* irq:irq_handler_entry: irq=\d+ name=/);
    const unknown = libvirt.run(host, "trace", ...events, "--vm", "vmspan");
    expect(unknown.status).toBe(1);
    expect(unknown.stderr).toContain(`${pid} ("${NAME}"`);
  });
});
