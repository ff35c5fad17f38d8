/** This thread goes to each CPU of the machine, and comes back. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { onlineCpus, parseCpuList } from "../../../shared/event/machine.ts";
import { CpuVisitor } from "../../../shared/sys/affinity.ts";

/** Where this thread may run, as the kernel says. */
function allowed(): number[] {
  const status = readFileSync("/proc/thread-self/status", "latin1");
  return parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)![1]!);
}

describe("CpuVisitor", () => {
  test("visit() reads on that CPU alone, and leaves the thread where it might run before", () => {
    const before = allowed();
    const visitor = new CpuVisitor();
    for (const cpu of onlineCpus()) expect(visitor.visit(cpu, allowed)).toEqual([cpu]);
    expect(allowed()).toEqual(before);
  });

  test("visit() comes back from a reading that fails", () => {
    const before = allowed();
    const visit = (): unknown =>
      new CpuVisitor().visit(onlineCpus()[0]!, () => {
        throw new RangeError("no");
      });
    expect(visit).toThrow("no");
    expect(allowed()).toEqual(before);
  });

  test("visit() leaves a CPU alone that let it wait, for twice as long each time", () => {
    const [cpu] = onlineCpus() as [number];
    const visitor = new CpuVisitor();
    const now = performance.now;
    let ms = 0;
    // A clock in which each visit takes 21 ms, then none.
    let step = 21;
    performance.now = () => (ms += step);
    try {
      const visits = Array.from({ length: 12 }, () => visitor.visit(cpu, () => 1) ?? 0);
      expect(visits.join("")).toBe("101001000010");
      step = 0;
      while (visitor.visit(cpu, () => 1) === undefined) ms++;
      expect(visitor.visit(cpu, () => 1)).toBe(1);
    } finally {
      performance.now = now;
    }
  });

  test("visit() gives nothing for CPUs that are avoided, or that there are not", () => {
    const [cpu] = onlineCpus() as [number];
    expect(new CpuVisitor([cpu]).visit(cpu, allowed)).toBeUndefined();
    const visitor = new CpuVisitor();
    for (const none of [8191, 8192, -1]) {
      expect(visitor.visit(none, allowed)).toBeUndefined();
      expect(visitor.mayVisit(none)).toBe(false);
    }
  });
});
