/** Probes on the real tracefs: made, fired, removed, and cleaned up after those who were killed. */
import { afterEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { ElfError, functionFileOffset } from "../../../shared/event/elf_symbol.ts";
import { EventSet } from "../../../shared/event/event_set.ts";
import { onlineCpus, readLineOf } from "../../../shared/event/machine.ts";
import { Probe, removeStaleProbes, startTicksOf } from "../../../shared/event/probe.ts";
import { resolveEvents } from "../../../shared/event/resolve.ts";
import { type ProbeSpec, parseEventSpecs } from "../../../shared/event/spec.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { libcPath, NO_TRACING, openEvents, ownProbes, samplesOf, totalOf } from "./kernel.ts";

const root = NO_TRACING === "" ? Tracefs.open().root : "";
const UPROBES = `${root}/uprobe_events`;
const noUprobes = NO_TRACING !== "" || !existsSync(UPROBES) || libcPath() === "";
const libc = libcPath();

function probeSpec(text: string): ProbeSpec {
  return parseEventSpecs(text)[0]!.probe!;
}

/** Process ids end at 4194304 on 64-bit Linux: these belong to nobody. */
const DEAD_PID = 4_194_399;
const stale: string[] = [];

function plantStaleProbe(name: string): string {
  const event = `vmspan_${DEAD_PID}_1/${name}`;
  writeFileSync(
    UPROBES,
    `p:${event} ${libc}:0x${functionFileOffset(libc, "getppid").toString(16)}\n`,
    {
      flag: "a",
    },
  );
  stale.push(event);
  return event;
}

afterEach(() => {
  const left = noUprobes ? "" : readFileSync(UPROBES, "utf8");
  for (const event of stale.splice(0)) {
    if (left.includes(`:${event} `)) writeFileSync(UPROBES, `-:${event}\n`, { flag: "a" });
  }
});

describe.skipIf(noUprobes)("Probe", () => {
  test("Probe.create() makes an event of our group, and close() removes it", () => {
    const probe = Probe.create(root, probeSpec(`uprobe:getppid@"${libc}" a=%di:u64`));
    expect(probe.group).toBe(`vmspan_${process.pid}_${startTicksOf(process.pid)}`);
    expect(probe.definition).toMatch(/^p:vmspan_\d+_\d+\/getppid_\d+ \/\S+:0x[0-9a-f]+ a=%di:u64$/);
    expect(existsSync(`${root}/events/${probe.group}/${probe.name}/format`)).toBe(true);
    expect(ownProbes().length).toBe(1);
    probe.close();
    expect(ownProbes()).toEqual([]);
    expect(() => probe.close()).not.toThrow();
  });

  test("Probe.create() keeps two probes on one function apart", () => {
    const spec = probeSpec(`uprobe:getppid@"${libc}"`);
    const probes = [spec, spec, { ...spec, kind: "uretprobe" as const }].map((each) =>
      Probe.create(root, each),
    );
    expect(new Set(probes.map(({ name }) => name)).size).toBe(3);
    expect(ownProbes().length).toBe(3);
    expect(ownProbes().filter((line) => line.startsWith("r")).length).toBe(1);
    for (const probe of probes) probe.close();
  });

  const targets: readonly (readonly [string, string])[] = [
    ["an address", `0x${noUprobes ? 0 : functionFileOffset(libc, "getppid").toString(16)}`],
    ["an address and an offset", "0x1000+4"],
    ["a function and an offset", "getppid+0x0"],
    ["a decimal offset", "getppid+0"],
  ];
  for (const [name, target] of targets) {
    test(`Probe.create() takes ${name}`, () => {
      const probe = Probe.create(root, probeSpec(`uprobe:${target}@"${libc}"`));
      const [base = "", offset = "0"] = target.split("+");
      const at = base === "getppid" ? functionFileOffset(libc, base) : Number(base);
      expect(ownProbes()[0]).toContain(
        `:0x${(at + Number(offset)).toString(16).padStart(16, "0")}`,
      );
      probe.close();
    });
  }

  test("Probe.create() makes names of functions that the kernel would not take as names", () => {
    // Longer than the kernel takes, and a digit first.
    const spec = probeSpec(`uprobe:0x1000@"${libc}"`);
    const long = `0x${"0".repeat(120)}1000`;
    const probe = Probe.create(root, { ...spec, target: long });
    expect(probe.name.length).toBeLessThan(64);
    expect(probe.name).toMatch(/^[A-Za-z_]\w*$/);
    probe.close();
  });

  test("Probe.create() says why it cannot", () => {
    const create = (text: string) => () => Probe.create(root, probeSpec(text));
    expect(create(`uprobe:nosuch_function@"${libc}"`)).toThrow(ElfError);
    expect(create('uprobe:main@"/nosuch/file"')).toThrow("ENOENT");
    expect(create(`uprobe:getppid@"${libc}" a=%nosuch`)).toThrow(TracefsError);
    try {
      create(`uprobe:getppid@"${libc}" a=%nosuch`)();
    } catch (error) {
      expect((error as TracefsError).message).toMatch(
        /^Cannot create uprobe "p:vmspan_\S+ \S+ a=%nosuch": Invalid register name$/,
      );
      expect((error as TracefsError).hint).toContain("error_log");
    }
    expect(ownProbes()).toEqual([]);
  });

  test("close() of a probe that is gone already is no error", () => {
    const probe = Probe.create(root, probeSpec(`uprobe:getppid@"${libc}"`));
    writeFileSync(UPROBES, `-:${probe.group}/${probe.name}\n`, { flag: "a" });
    expect(() => probe.close()).not.toThrow();
  });

  test("close() of a probe in use says so, and works once it is not", () => {
    const set = openEvents([`uprobe:getppid@"${libc}"`]);
    const { probe } = set.events[0]!;
    expect(() => probe!.close()).toThrow("Cannot remove probe");
    expect(ownProbes().length).toBe(1);
    set.close();
    expect(ownProbes()).toEqual([]);
  });

  test("a uprobe fires once for each call, and its sample names the process", () => {
    // dash asks for its parent once, at its start.
    const isDash = spawnSync("readlink", ["-f", "/bin/sh"], { encoding: "utf8" }).stdout;
    if (!isDash.includes("dash")) {
      console.warn("skipped: counting a uprobe: /bin/sh is not dash");
      return;
    }
    const set = openEvents([`uprobe:getppid@"${libc}"`]);
    set.enable();
    const pids = Array.from({ length: 5 }, () => spawnSync("/bin/sh", ["-c", ":"]).pid);
    set.disable();
    const seen = samplesOf(set).map(({ bytes }) => bytes.getInt32(16 + 4 + 4, true));
    for (const pid of pids) expect(seen.filter((each) => each === pid).length).toBe(1);
    expect(totalOf(set).produced).toBe(seen.length);
    set.close();
    expect(ownProbes()).toEqual([]);
  });
});

describe.skipIf(noUprobes)("removeStaleProbes", () => {
  test("removeStaleProbes() removes those of dead processes, and no other", () => {
    const dead = plantStaleProbe("left_behind");
    const live = Probe.create(root, probeSpec(`uprobe:getppid@"${libc}"`));
    removeStaleProbes(root);
    const left = readFileSync(UPROBES, "utf8");
    expect(left).not.toContain(dead);
    expect(left).toContain(live.name);
    live.close();
  });

  test("removeStaleProbes() leaves alone what somebody has open", () => {
    const dead = plantStaleProbe("in_use");
    const [system = "", name = ""] = dead.split("/");
    const [spec] = parseEventSpecs(`${system}:${name}`);
    const tracefs = Tracefs.open();
    const described = { formatText: tracefs.formatText(system, name), probe: undefined };
    const id = tracefs.eventId(system, name);
    const event = { specIndex: 0, spec: spec!, system, name, id, ...described };
    const options = { ringBytes: 65536, watermarkBytes: 4096, threadIds: false, taskNames: false };
    const set = new EventSet([event], { cpus: onlineCpus(), pid: -1, ...options });
    expect(removeStaleProbes(root)).not.toContain(dead);
    expect(readFileSync(UPROBES, "utf8")).toContain(dead);
    set.close();
    // Whichever agent starts on this machine may have been quicker: it is gone all the same.
    removeStaleProbes(root);
    expect(readFileSync(UPROBES, "utf8")).not.toContain(dead);
  });

  test("removeStaleProbes() knows a process from another that has its id now", () => {
    const own = `vmspan_${process.pid}_1/of_my_predecessor`;
    const offset = functionFileOffset(libc, "getppid").toString(16);
    writeFileSync(UPROBES, `p:${own} ${libc}:0x${offset}\n`, { flag: "a" });
    stale.push(own);
    removeStaleProbes(root);
    expect(readFileSync(UPROBES, "utf8")).not.toContain(own);
  });

  test("startTicksOf() is the 22nd field of /proc/PID/stat, whatever the name holds", () => {
    expect(startTicksOf(process.pid)).toMatch(/^\d+$/);
    expect(startTicksOf(DEAD_PID)).toBeUndefined();
    // Our own start lies between the machine's and now.
    const seconds = Number(startTicksOf(process.pid)) / 100;
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(Number(readLineOf("/proc/uptime").split(" ")[0]));
  });

  test("resolveEvents() removes stale probes, whatever it is asked for", () => {
    const dead = plantStaleProbe("left_behind");
    resolveEvents(parseEventSpecs("raw_syscalls:sys_enter"), Tracefs.open());
    expect(readFileSync(UPROBES, "utf8")).not.toContain(dead);
  });
});

describe.skipIf(NO_TRACING !== "")("kprobes", () => {
  test("a kprobe fires, or this kernel is said to have none", () => {
    const spec = "kprobe:__x64_sys_getppid";
    if (existsSync(`${root}/kprobe_events`)) {
      const set = openEvents([spec]);
      expect(ownProbes().length).toBe(1);
      set.close();
      expect(ownProbes()).toEqual([]);
      return;
    }
    expect(() => openEvents([spec])).toThrow(
      `Cannot create kprobe "__x64_sys_getppid": this kernel has no ${root}/kprobe_events`,
    );
  });
});
