// TraceLines: the very lines of perf-prof's documents, and what hostile names become.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { writeLatencyFlags } from "../../../agent-host/report/latency_flags.ts";
import { TimeScale } from "../../../agent-host/report/time_scale.ts";
import { TraceLines } from "../../../agent-host/report/trace_line.ts";
import { WallClock } from "../../../agent-host/report/wall_clock.ts";
import { eventOf, localNs, machineOf, optionsOf, textOf, viewOf } from "./lines.ts";

const IRQS_OFF = 0x01;
const NEED_RESCHED = 0x04;
const HARDIRQ = 0x08;
const SOFTIRQ = 0x10;
const PREEMPT_RESCHED = 0x20;

describe("TraceLines.write()", () => {
  test("prints a guest's idle task as the document does", () => {
    const options = optionsOf(
      localNs(new Date(2023, 3, 12, 13, 47, 26), 370747),
      186430038050000n,
      eventOf("irq", "irq_handler_entry"),
      machineOf(true, {}),
    );
    const flags = IRQS_OFF | HARDIRQ;
    const view = viewOf({ cpu: 77, tid: 0, flags, info: "irq=38 name=virtio0-input.3" });
    expect(textOf((out) => new TraceLines(options).write(out, view))).toBe(
      "2023-04-12 13:47:26.370747 G           <idle>      0 d.h. [077] 186430.038050: " +
        "irq:irq_handler_entry: irq=38 name=virtio0-input.3\n",
    );
  });

  test("prints a host event as the document does", () => {
    const options = optionsOf(
      localNs(new Date(2023, 3, 12, 15, 38, 45), 754019),
      203124373091000n,
      eventOf("kvm", "kvm_msi_set_irq"),
      machineOf(false, { 26027: "worker3_1.95" }),
    );
    const info = "dst 65 vec 35 (Fixed|physical|edge)";
    const view = viewOf({ cpu: 95, tid: 26027, flags: IRQS_OFF, info });
    expect(textOf((out) => new TraceLines(options).write(out, view))).toBe(
      "2023-04-12 15:38:45.754019       worker3_1.95  26027 d... [095] 203124.373091: " +
        "kvm:kvm_msi_set_irq: dst 65 vec 35 (Fixed|physical|edge)\n",
    );
  });

  test("prints a task without a name as the document does", () => {
    const options = optionsOf(
      localNs(new Date(2023, 3, 12, 15, 38, 45), 754102),
      203124380722000n,
      eventOf("irq", "irq_handler_entry"),
      machineOf(true, {}),
    );
    const flags = IRQS_OFF | HARDIRQ | NEED_RESCHED | PREEMPT_RESCHED;
    const view = viewOf({ cpu: 79, tid: 350094, flags, info: "irq=36 name=virtio0-input.2" });
    expect(textOf((out) => new TraceLines(options).write(out, view))).toBe(
      "2023-04-12 15:38:45.754102 G            <...> 350094 dNh. [079] 203124.380722: " +
        "irq:irq_handler_entry: irq=36 name=virtio0-input.2\n",
    );
  });

  test("prints a softirq with a preempt count, and rounds the clock", () => {
    const options = optionsOf(
      localNs(new Date(2026, 10, 22, 8, 16, 33), 359541),
      1176865010500n,
      eventOf("sched", "sched_wakeup"),
      machineOf(false, { 0: "swapper" }),
    );
    const flags = IRQS_OFF | SOFTIRQ | NEED_RESCHED | PREEMPT_RESCHED;
    const info = "comm=kdamond.0 pid=77 prio=120 target_cpu=000";
    const view = viewOf({ cpu: 0, tid: 0, flags, preempt: 5, info });
    expect(textOf((out) => new TraceLines(options).write(out, view))).toBe(
      "2026-11-22 08:16:33.359541            swapper      0 dNs5 [000] 1176.865011: " +
        "sched:sched_wakeup: comm=kdamond.0 pid=77 prio=120 target_cpu=000\n",
    );
  });

  test("escapes comm and fields of a hostile guest", () => {
    const machine = machineOf(true, { 7: "a\x1b[2J\x9b" });
    const options = optionsOf(0n, 0n, eventOf("x", "y"), machine);
    const view = viewOf({ cpu: 1, tid: 7, info: "\x1b]0;owned\x07\n" });
    const text = textOf((out) => new TraceLines(options).write(out, view));
    expect(text.slice(27)).toBe(
      "G     a\\x1b[2J\\x9b      7 .... [001] 0.000000: x:y: \\x1b]0;owned\\x07\\x0a\n",
    );
  });

  test("prints any stamp, pid and CPU as one printable line", () => {
    const options = optionsOf(1681278446n * 10n ** 9n, 5n, eventOf("x", "y"), machineOf(false, {}));
    const lines = new TraceLines(options);
    const time = fc.oneof(fc.double({ noNaN: true }), fc.maxSafeInteger());
    fc.assert(
      fc.property(time, fc.integer(), fc.nat(2 ** 31), fc.nat(255), (when, tid, cpu, flags) => {
        const view = viewOf({ time: when, tid, cpu, flags, preempt: flags });
        const text = textOf((out) => lines.write(out, view));
        expect(text).toMatch(/^[ -~]+\n$/);
      }),
      { numRuns: 500 },
    );
  });

  test("says so when the bytes of a start event were not kept", () => {
    const options = optionsOf(0n, 0n, eventOf("x", "y"), machineOf(false, {}));
    const view = viewOf({ cpu: 1, tid: 7 });
    view.rawBytes = 0;
    const text = textOf((out) => new TraceLines(options).write(out, view));
    expect(text).toContain("<...>     -1 .... [001] 0.000000: x:y: (the record was not kept");
  });
});

describe("writeLatencyFlags()", () => {
  test.each([
    [0, 0, "...."],
    [0, 1, "...1"],
    [0, 0x21, "...12"],
    [0x81, 0, "D..."],
    [0x80, 0, "b..."],
    [NEED_RESCHED, 0, ".n.."],
    [PREEMPT_RESCHED, 0, ".p.."],
    [0x02, 0, ".l.."],
    [0x26, 0, ".B.."],
    [0x22, 0, ".L.."],
    [HARDIRQ | SOFTIRQ, 0xf, "..Hf"],
    [0x40, 0, "..z."],
    [0x48, 0, "..Z."],
  ])("prints flags %d with preempt count %d as %s", (flags, preemptCount, expected) => {
    expect(textOf((out) => writeLatencyFlags(out, flags, preemptCount))).toBe(expected);
  });
});

describe("TimeScale", () => {
  test("set() keeps microseconds exact with an anchor far beyond 2^53", () => {
    const scale = new TimeScale(18_446_744_073_709_551_000n, 0.4);
    scale.set(2_500_000, true);
    expect([scale.seconds, scale.micros]).toEqual([18446744073, 710551]);
    expect(scale.exact(2_500_000)).toBe(18_446_744_073_710_551_000n);
  });

  test("set() goes below the anchor, and below zero", () => {
    const scale = new TimeScale(1_000_000_000n, 1);
    scale.set(-1000, false);
    expect([scale.seconds, scale.micros]).toEqual([0, 999999]);
    scale.set(-1_000_000_001, false);
    expect([scale.seconds, scale.micros]).toEqual([-1, 999999]);
  });

  test("set() agrees with exact arithmetic", () => {
    const anchor = fc.bigInt({ min: 0n, max: 2n ** 64n });
    fc.assert(
      fc.property(anchor, fc.integer({ min: 0, max: 2 ** 52 }), (units, cycles) => {
        const scale = new TimeScale(units, 1);
        scale.set(cycles, false);
        const micros = (units + BigInt(cycles)) / 1000n;
        expect(BigInt(scale.seconds)).toBe(micros / 1_000_000n);
        expect(BigInt(scale.micros)).toBe(micros % 1_000_000n);
      }),
    );
  });

  test("follow() comes up with a clock within the span, whatever the rate, and never goes back", () => {
    const scale = new TimeScale(5_000_000_000n, 0.5);
    const shown = (cycles: number): number => Number(scale.exact(cycles));
    const before = shown(1_000_000);
    // The clock runs at 0.4 and is 700 units behind, then ahead.
    for (const units of [before - 700, before + 700]) {
      const at = scale.exact(1_000_000);
      scale.follow(1_000_000, BigInt(units), 0.4, 10_000);
      expect(scale.exact(1_000_000)).toBe(at);
      expect(shown(1_010_000)).toBe(units + 4000);
    }
    scale.follow(1_000_000, BigInt(before - 50_000), 0.4, 10_000);
    expect(shown(1_000_100)).toBeGreaterThan(shown(1_000_000));
  });

  test("follow() jumps with a clock that was set", () => {
    const scale = new TimeScale(5_000_000_000n, 0.5);
    scale.follow(2_000, 1_000_000_000_000n, 0.4, 10_000);
    expect([scale.exact(2_000), scale.exact(12_000)]).toEqual([
      1_000_000_000_000n,
      1_000_000_004_000n,
    ]);
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])(
    "throws on %p units per cycle",
    (units) => {
      expect(() => new TimeScale(0n, units)).toThrow(RangeError);
    },
  );
});

test("WallClock.text() and write() agree, across seconds and days", () => {
  const wall = new WallClock(localNs(new Date(2024, 1, 28, 23, 59, 59), 999000), 1);
  for (const cycles of [0, 999_999, 1_000_000, 86_400e9, 0, -3600e9]) {
    expect(textOf((out) => wall.write(out, cycles))).toBe(wall.text(cycles));
  }
  expect(wall.text(1_000_000)).toBe("2024-02-29 00:00:00.000000");
  expect(new WallClock(-(10n ** 23n), 1).text(0)).toBe("????-??-?? ??:??:??.000000");
});
