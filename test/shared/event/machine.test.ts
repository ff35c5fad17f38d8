/** CPU lists, APIC ids, and what this machine says of itself. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { cpus as nodeCpus } from "node:os";
import fc from "fast-check";
import {
  CPU_NUMBER_MAX,
  formatCpuList,
  onlineCpus,
  parseApicIds,
  parseCpuList,
  readLineOf,
  readMachineInfo,
  selectCpus,
} from "../../../shared/event/machine.ts";

describe("parseCpuList", () => {
  for (const [text, cpus] of [
    ["0", [0]],
    ["0-3,8", [0, 1, 2, 3, 8]],
    ["8,0-1", [0, 1, 8]],
    ["1,1,0-1", [0, 1]],
    [" 0-1 , 3\n", [0, 1, 3]],
    ["8191", [8191]],
  ] as const) {
    test(`parseCpuList() reads ${JSON.stringify(text)}`, () => {
      expect(parseCpuList(text)).toEqual([...cpus]);
    });
  }

  for (const text of ["", "x", "1-", "-1", "3-1", "0,,1", "0-8192", "1-2-3", "0x1", "1.5", "9e9"]) {
    test(`parseCpuList() refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseCpuList(text)).toThrow(
        `Cannot parse CPU list "${text}": wants numbers and ranges, as 0-3,8`,
      );
    });
  }

  const cpuSet = fc.uniqueArray(fc.integer({ min: 0, max: CPU_NUMBER_MAX }), {
    minLength: 1,
    maxLength: 100,
  });
  const dense = fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { minLength: 1 });

  test("parseCpuList() undoes formatCpuList()", () => {
    fc.assert(
      fc.property(fc.oneof(cpuSet, dense), (cpus) => {
        const sorted = cpus.toSorted((a, b) => a - b);
        expect(parseCpuList(formatCpuList(sorted))).toEqual(sorted);
      }),
      { numRuns: 300 },
    );
  });

  test("formatCpuList() is the shortest: neighbours are joined", () => {
    fc.assert(
      fc.property(dense, (cpus) => {
        const sorted = cpus.toSorted((a, b) => a - b);
        const runs = sorted.filter((cpu, i) => i === 0 || cpu !== sorted[i - 1]! + 1).length;
        expect(formatCpuList(sorted).split(",").length).toBe(runs);
      }),
      { numRuns: 300 },
    );
    expect(formatCpuList([])).toBe("");
    expect(formatCpuList([0, 1, 2, 3, 8])).toBe("0-3,8");
  });

  test("parseCpuList() of any text gives an ascending list or RangeError", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(..."0123456789-, x\n"), maxLength: 20 }),
        (t) => {
          try {
            const cpus = parseCpuList(t);
            expect(cpus.length).toBeGreaterThan(0);
            expect(cpus.every((cpu, i) => i === 0 || cpu > cpus[i - 1]!)).toBe(true);
            expect(cpus.at(-1)!).toBeLessThanOrEqual(CPU_NUMBER_MAX);
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("selectCpus", () => {
  const online = onlineCpus();

  test("onlineCpus() are those that node knows", () => {
    expect(online.length).toBe(nodeCpus().length);
  });

  test("selectCpus() gives all, or the ones wanted", () => {
    expect(selectCpus(undefined)).toEqual(online);
    expect(selectCpus(`${online[0]}`)).toEqual([online[0]!]);
  });

  test("selectCpus() names what is not online", () => {
    const absent = online.at(-1)! + 7;
    expect(() => selectCpus(`${online[0]},${absent}-${absent + 1}`)).toThrow(
      `Cannot sample CPU ${absent}-${absent + 1}: not online, wants some of ${formatCpuList(online)}`,
    );
  });
});

describe("parseApicIds", () => {
  test("parseApicIds() pairs each processor with its apicid", () => {
    const cpuinfo = [
      "processor\t: 0",
      "model name\t: apicid : 7",
      "initial apicid\t: 99",
      "apicid\t\t: 2",
      "",
      "processor\t: 1",
      "apicid\t\t: 3",
      "",
      "processor\t: 40",
      "apicid\t\t: 512",
    ].join("\n");
    expect([...parseApicIds(cpuinfo)]).toEqual([
      [0, 2],
      [1, 3],
      [40, 512],
    ]);
  });

  test("parseApicIds() of a machine without APICs is empty", () => {
    expect(parseApicIds("processor\t: 0\nBogoMIPS\t: 50.00\n").size).toBe(0);
    expect(parseApicIds("").size).toBe(0);
    expect(parseApicIds("apicid : 3\n").size).toBe(0);
  });

  test("parseApicIds() of any text gives numbers", () => {
    const lines = fc.constantFrom("processor : ", "apicid : ", "1", "4294967296", "x", "\n", ":");
    fc.assert(
      fc.property(fc.array(lines, { maxLength: 20 }), (parts) => {
        for (const [cpu, id] of parseApicIds(parts.join(""))) {
          expect(Number.isSafeInteger(cpu) && Number.isSafeInteger(id)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("readMachineInfo", () => {
  test("readMachineInfo() is what /proc says", () => {
    const info = readMachineInfo();
    expect(info.bootId).toMatch(/^[0-9a-f-]{36}$/);
    expect(info.kernelRelease).toBe(readFileSync("/proc/sys/kernel/osrelease", "utf8").trim());
    expect(info.architecture).toBe("x86_64");
    expect(info.clocksource).not.toBe("");
    expect([...info.apicIds.keys()]).toEqual(onlineCpus());
  });

  test("readLineOf() gives the first line, and nothing of a file that is not there", () => {
    expect(readLineOf("/proc/self/comm")).toBe(readFileSync("/proc/self/comm", "utf8").trim());
    expect(readLineOf("/proc/self/nosuch")).toBe("");
    expect(() => readLineOf("/proc/self")).toThrow("EISDIR");
  });
});
