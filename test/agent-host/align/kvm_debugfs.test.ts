/** KVM debugfs: names and numbers by hand, a made-up directory tree. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  KvmLookupError,
  listVms,
  parseTscFiles,
  parseVcpuDirectory,
  parseVmDirectory,
  readVcpus,
  vmOfPid,
} from "../../../agent-host/align/kvm_debugfs.ts";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";

describe("parsers", () => {
  test("parseVmDirectory() takes pid-fd only", () => {
    expect(parseVmDirectory("26027-11")).toEqual({ pid: 26027, fd: 11 });
    for (const name of ["exits", "26027", "26027-", "-11", "26027-11x", "1-2-3", ""]) {
      expect(parseVmDirectory(name)).toBeUndefined();
    }
  });

  test("parseVcpuDirectory() gives the APIC id", () => {
    expect(parseVcpuDirectory("vcpu0")).toBe(0);
    expect(parseVcpuDirectory("vcpu254")).toBe(254);
    for (const name of ["vcpu", "vcpux", "vcpu1x", "cpu1"]) {
      expect(parseVcpuDirectory(name)).toBeUndefined();
    }
  });

  test("parseTscFiles() takes missing scaling files as no scaling", () => {
    expect(parseTscFiles("-42\n", undefined, undefined)).toEqual(tscRelation(-42n));
    expect(parseTscFiles("0", "281474976710656", undefined)).toEqual(tscRelation(0n));
    expect(parseTscFiles("-10417559688434398\n", "234562480592213\n", "48\n")).toEqual(
      tscRelation(-10417559688434398n, 234562480592213n, 48),
    );
  });

  test("parseTscFiles() refuses what is no number", () => {
    for (const text of ["", "x", "1.5", "0x10", "1 2", "- 1", "9".repeat(30)]) {
      expect(() => parseTscFiles(text, undefined, undefined)).toThrow(SyntaxError);
    }
    expect(() => parseTscFiles("0", "0", "48")).toThrow("ratio is 0");
    expect(() => parseTscFiles("0", "1", "99")).toThrow("fraction bits are 99");
  });

  test("parseTscFiles() gives a relation or a typed error for any text", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (offset, ratio, fracBits) => {
        try {
          parseTscFiles(offset, ratio, fracBits);
        } catch (error) {
          expect(error instanceof SyntaxError || error instanceof RangeError).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("directory tree", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "kvm-debugfs-"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function vcpu(vm: string, apicId: number, files: Record<string, string>): void {
    const path = join(root, vm, `vcpu${apicId}`);
    mkdirSync(path, { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  }

  test("readVcpus() reads every vCPU by APIC id, in order", () => {
    writeFileSync(join(root, "exits"), "0\n");
    vcpu("26027-11", 10, { "tsc-offset": "-5\n", guest_mode: "1\n", pid: "26040\n" });
    vcpu("26027-11", 2, {
      "tsc-offset": "-7\n",
      "tsc-scaling-ratio": "140737488355328\n",
      "tsc-scaling-ratio-frac-bits": "48\n",
      guest_mode: "0\n",
    });
    const vm = vmOfPid(26027, root);
    expect(vm).toMatchObject({ pid: 26027, fd: 11 });
    expect(readVcpus(vm)).toEqual([
      {
        apicId: 2,
        relation: tscRelation(-7n, 1n << 47n, 48),
        isNested: false,
        threadId: undefined,
      },
      { apicId: 10, relation: tscRelation(-5n), isNested: true, threadId: 26040 },
    ]);
  });

  test("vmOfPid() takes the machine with vCPUs when the process has several", () => {
    mkdirSync(join(root, "300-9"));
    vcpu("300-12", 0, { "tsc-offset": "0\n" });
    vcpu("301-9", 0, { "tsc-offset": "0\n" });
    expect(listVms(root).length).toBe(3);
    expect(vmOfPid(300, root).fd).toBe(12);
  });

  test("vmOfPid() says why it cannot choose", () => {
    vcpu("300-9", 0, { "tsc-offset": "0\n" });
    vcpu("300-12", 0, { "tsc-offset": "0\n" });
    mkdirSync(join(root, "301-5"));
    expect(() => vmOfPid(300, root)).toThrow("2 of 2 have vCPUs");
    expect(() => vmOfPid(301, root)).toThrow("0 of 1 have vCPUs");
    expect(() => vmOfPid(999, root)).toThrow("has no directory of it");
    expect(() => vmOfPid(1, join(root, "nowhere"))).toThrow("ENOENT");
  });

  test("readVcpus() of a machine that has gone is a lookup error with a hint", () => {
    vcpu("300-9", 0, { "tsc-offset": "0\n" });
    const vm = vmOfPid(300, root);
    rmSync(join(root, "300-9"), { recursive: true });
    try {
      readVcpus(vm);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(KvmLookupError);
      expect((error as KvmLookupError).hint).toContain("may have ended");
    }
  });
});
