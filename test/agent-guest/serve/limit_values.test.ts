/** The values of limits as text, and the configuration file that holds them. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { limitsOf, parseConfig, readConfig } from "../../../agent-guest/serve/config.ts";
import {
  parseBytes,
  parseCpuShare,
  parseEventsMax,
  parseGraceMs,
  parsePatterns,
  parseRate,
  parseRingBytes,
} from "../../../agent-guest/serve/limit_values.ts";
import { eventPolicy, idlePatterns, LIMITS_DEFAULT } from "../../../agent-guest/serve/limits.ts";
import { settingsOf } from "../../../agent-guest/serve/serve_options.ts";
import { UsageError } from "../../../shared/cli/failure.ts";
import { Workspace } from "../../vm/workspace.ts";

const MEANINGS: readonly (readonly [unknown, unknown])[] = [
  [parseCpuShare("x", "2%"), 0.02],
  [parseCpuShare("x", "0.5%"), 0.005],
  [parseCpuShare("x", "250%"), 2.5],
  [parseBytes("x", "4MB"), 4 * 2 ** 20],
  [parseBytes("x", "4 MiB"), 4 * 2 ** 20],
  [parseBytes("x", "512kB"), 512 * 1024],
  [parseBytes("x", "65536"), 65_536],
  [parseRingBytes("x", "1GB"), 2 ** 30],
  [parseRate("x", "50MB/s"), { bytesPerSecondMax: 50 * 2 ** 20, eventsPerSecondMax: Infinity }],
  [parseRate("x", "200k/s"), { bytesPerSecondMax: Infinity, eventsPerSecondMax: 200_000 }],
  [parseRate("x", "1kB/s, 3/s"), { bytesPerSecondMax: 1024, eventsPerSecondMax: 3 }],
  [parseEventsMax("x", "64"), 64],
  [parseGraceMs("x", "10s"), 10_000],
  [parseGraceMs("x", "0s"), 0],
  [parseGraceMs("x", "1.5ms"), 1.5],
  [parsePatterns("x", "irq:*, sched"), ["irq:*", "sched"]],
];

test.each(MEANINGS)("%j means %j", (actual, wanted) => {
  expect(actual).toEqual(wanted);
});

const PARSERS = {
  parseCpuShare,
  parseBytes,
  parseRingBytes,
  parseRate,
  parseEventsMax,
  parseGraceMs,
  parsePatterns,
} as const;

const REFUSED: readonly (readonly [keyof typeof PARSERS, string])[] = [
  ["parseCpuShare", "2"],
  ["parseCpuShare", "0%"],
  ["parseCpuShare", "-1%"],
  ["parseBytes", "0"],
  ["parseBytes", "4 apples"],
  ["parseBytes", "99999999999GB"],
  ["parseRingBytes", "5MB"],
  ["parseRingBytes", "2GB"],
  ["parseRate", "50MB"],
  ["parseRate", "0/s"],
  ["parseRate", "50MB/s,"],
  ["parseEventsMax", "0"],
  ["parseEventsMax", "1025"],
  ["parseGraceMs", "2 days"],
  ["parseGraceMs", "10"],
  ["parseGraceMs", "-1s"],
  ["parseGraceMs", "7200s"],
  ["parsePatterns", "irq:*,,"],
  ["parsePatterns", "irq/x"],
];

test.each(REFUSED)("%s() refuses %j, naming the option and what it wants", (name, text) => {
  expect(() => PARSERS[name]("--opt", text)).toThrow(UsageError);
  expect(() => PARSERS[name]("--opt", text)).toThrow(/^Cannot use --opt .*: wants /);
});

test("parsers of any text give a value or a UsageError", () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 20 }),
      fc.constantFrom(...Object.values(PARSERS)),
      (text, parse) => {
        try {
          parse("x", text);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      },
    ),
  );
});

describe("eventPolicy", () => {
  test("eventPolicy() lets deny overrule allow, and takes a system's name for all of it", () => {
    const isAllowed = eventPolicy({
      ...LIMITS_DEFAULT,
      allow: ["irq", "sched:sched_w*"],
      deny: ["*:*_exit"],
    });
    const allowed = [
      { system: "irq", name: "irq_handler_entry" },
      { system: "irq", name: "irq_handler_exit" },
      { system: "sched", name: "sched_wakeup" },
      { system: "sched", name: "sched_switch" },
    ].map(isAllowed);
    expect(allowed).toEqual([true, false, true, false]);
  });
});

describe("idlePatterns()", () => {
  const events = [
    { system: "syscalls", name: "sys_enter_read" },
    { system: "irq", name: "irq_handler_entry" },
  ];

  test("names what is no event, with the system that may be meant", () => {
    const limits = { ...LIMITS_DEFAULT, allow: ["irq", "nosuch:*"], deny: ["syscall:*", "irq:x*"] };
    expect(idlePatterns(limits, events)).toEqual([
      'allow "nosuch:*" is no event of this kernel',
      'deny "syscall:*" is no event of this kernel (did you mean syscalls:*?)',
      'deny "irq:x*" is no event of this kernel',
    ]);
  });

  test("has nothing to say of what there is", () => {
    const limits = { ...LIMITS_DEFAULT, allow: ["irq:*_entry", "sys*"], deny: ["*:sys_*"] };
    expect(idlePatterns(limits, events)).toEqual([]);
    expect(idlePatterns(LIMITS_DEFAULT, events)).toEqual([]);
  });
});

describe("configuration file", () => {
  test("the one that is shipped allows what the defaults do", () => {
    const shipped = join(import.meta.dirname, "../../../agent-guest/packaging/agent-guest.toml");
    const settings = readConfig(shipped);
    expect(settings.sinks).toEqual(["/dev/virtio-ports/org.qemu.perf0"]);
    expect(limitsOf(settings)).toEqual(LIMITS_DEFAULT);
  });

  test("what is commented out in it can be used as it stands", () => {
    const shipped = join(import.meta.dirname, "../../../agent-guest/packaging/agent-guest.toml");
    const text = readFileSync(shipped, "utf8").replace(/^#(?=[a-z-]+ = )/gm, "");
    expect(limitsOf(parseConfig(text, shipped))).toEqual({
      eventsMax: 64,
      ringBytesMax: 4 * 2 ** 20,
      allow: ["irq:*", "sched:*", "block:*"],
      deny: ["syscalls:*"],
      allowsProbes: false,
      graceMs: 10_000,
      rates: {
        cpuShareMax: 0.05,
        bytesPerSecondMax: 50 * 2 ** 20,
        eventsPerSecondMax: 200_000,
      },
    });
  });

  test("options overrule it, one by one", async () => {
    const workspace = new Workspace();
    const config = workspace.file("c.toml");
    writeFileSync(config, 'sinks = ["9900"]\nmax-cpu = "2%"\nmax-events = 3\nallow = ["irq:*"]\n');
    const given = { config, maxCpu: "4%", allow: [], deny: ["sched:*"] };
    expect(settingsOf([], given)).toEqual({
      sinks: ["9900"],
      "max-cpu": "4%",
      "max-events": 3,
      allow: ["irq:*"],
      deny: ["sched:*"],
    });
    expect(settingsOf(["unix:/x"], { allow: [], deny: [], config }).sinks).toEqual(["unix:/x"]);
    await workspace.dispose();
  });

  const WRONG: readonly (readonly [string, string])[] = [
    ["max-cp = 3", 'Cannot use "f": max-cp: no such setting'],
    ["sinks = []", 'Cannot use "f": sinks: none, and no host could come'],
    ["allow = 3", 'Cannot use "f": allow: Invalid type: Expected Array but received 3'],
    ["allow = [", 'Cannot read "f": line 1: unfinished array'],
  ];

  test.each(WRONG)("%j is refused: %s", (text, message) => {
    expect(() => parseConfig(text, "f")).toThrow(UsageError);
    expect(() => parseConfig(text, "f")).toThrow(message);
  });

  test("values are refused with the setting's name", () => {
    expect(() => limitsOf({ "max-cpu": "2" })).toThrow("Cannot use max-cpu 2: wants a share");
    expect(() => limitsOf({ grace: "soon" })).toThrow("Cannot use grace soon");
  });

  test("one that was named must be there, the usual one need not", () => {
    expect(() => readConfig("/nonexistent/x.toml")).toThrow(
      'Cannot read "/nonexistent/x.toml": ENOENT',
    );
  });

  test("parseConfig() of any text gives settings or a UsageError", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          limitsOf(parseConfig(text, "f"));
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });
});
