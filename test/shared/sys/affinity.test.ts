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
