/** Names of system calls and exit reasons against the kernel's own headers and formats. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import {
  exitReasonName,
  ISA_ARM64,
  ISA_SVM,
  ISA_VMX,
} from "../../../../shared/expr/names/exit_reasons.ts";
import { type SyscallMachine, syscallName } from "../../../../shared/expr/names/syscalls.ts";
import { Tracefs, TracefsError } from "../../../../shared/tracefs/tracefs.ts";
import { GCC, LIBC_DEV, packagesProblem } from "../../../apt.ts";

const HEADERS = "/usr/include/x86_64-linux-gnu/asm";

/** The format of kvm:kvm_exit, which lists the names of both vendors; "" without kvm. */
function kvmExitFormat(): string {
  try {
    const tracefs = Tracefs.open();
    return tracefs.has("kvm", "kvm_exit") ? tracefs.format("kvm", "kvm_exit").printFormat : "";
  } catch (error) {
    if (error instanceof TracefsError) return "";
    throw error;
  }
}

const problem = packagesProblem([GCC, LIBC_DEV]);
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("syscallName()", () => {
  const wanted = ["RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "SYS_CLONE3", "MEMFD_SECRET"];
  for (const [machine, source] of [
    ["x86_64", "#include <asm/unistd_64.h>\n"],
    [
      "aarch64",
      `${wanted.map((name) => `#define __ARCH_WANT_${name}\n`).join("")}#include <asm-generic/unistd.h>\n`,
    ],
  ] as const satisfies readonly (readonly [SyscallMachine, string])[]) {
    test(`names the system calls of ${machine} as the headers do`, () => {
      const numbers = readNumbers(source);
      expect(numbers.size).toBeGreaterThan(250);
      for (const [name, number] of numbers) {
        expect([number, syscallName(machine, number)]).toEqual([number, name]);
      }
      console.log(`system calls of ${machine}: ${numbers.size} equal to the headers`);
    });
  }
});

/** __NR_ names by the C preprocessor; some stand for a name of the 32- or 64-bit call. */
function readNumbers(source: string): Map<string, number> {
  const run = spawnSync("gcc", ["-E", "-dM", "-x", "c", "-"], { input: source, encoding: "utf8" });
  const numbers = new Map<string, number>();
  const shared = new Map<string, number>();
  for (const [, name, value] of run.stdout.matchAll(/#define __NR_(\w+) (\w+)/g)) {
    if (/^\d+$/.test(value!)) numbers.set(name!, Number(value));
  }
  for (const [, name, value] of run.stdout.matchAll(/#define __NR3264_(\w+) (\d+)/g)) {
    shared.set(name!, Number(value));
  }
  for (const [, name, alias] of run.stdout.matchAll(/#define __NR_(\w+) __NR3264_(\w+)/g)) {
    const number = shared.get(alias!);
    if (number !== undefined) numbers.set(name!, number);
  }
  numbers.delete("syscalls");
  numbers.delete("arch_specific_syscall");
  return numbers;
}

describe.skipIf(problem !== "")("exitReasonName()", () => {
  test("names VMX exit reasons as <asm/vmx.h> does", () => {
    const header = readFileSync(`${HEADERS}/vmx.h`, "utf8");
    const found = [...header.matchAll(/#define EXIT_REASON_(\w+)\s+(\d+)/g)];
    expect(found.length).toBeGreaterThan(50);
    for (const [, name, number] of found) {
      expect([name, exitReasonName(ISA_VMX, Number(number))]).toEqual([name, name]);
    }
    console.log(`exit reasons of VMX: ${found.length} equal to the header`);
  });

  test("names SVM exit codes as <asm/svm.h> does", () => {
    const header = readFileSync(`${HEADERS}/svm.h`, "utf8");
    const codes = new Map(
      [...header.matchAll(/#define\s+(SVM_\w+)\s+(0x[0-9a-fA-F]+|-1)/g)].map(
        ([, macro, code]) => [macro!, Number(code) >>> 0] as const,
      ),
    );
    const found = [...header.matchAll(/\{ (SVM_\w+),\s+"([^"]+)" \}/g)];
    expect(found.length).toBeGreaterThan(80);
    for (const [, macro, name] of found) {
      expect([macro, exitReasonName(ISA_SVM, codes.get(macro!)!)]).toEqual([macro, name]);
    }
    console.log(`exit codes of SVM: ${found.length} equal to the header`);
  });
});

describe("exitReasonName() beside kvm:kvm_exit", () => {
  const format = kvmExitFormat();
  if (format === "") console.log("skipped: no kvm:kvm_exit on this machine");

  test.skipIf(format === "")("has the names that the running kernel prints", () => {
    // VMX first, SVM second, each list in a __print_symbolic().
    const lists = format
      .split("__print_symbolic(")
      .slice(1, 3)
      .map((list) => list.replace(/__print_flags.*/s, ""));
    let equal = 0;
    [ISA_VMX, ISA_SVM].forEach((isa, index) => {
      const items = lists[index]!.matchAll(/\{ (-?(?:0x)?[0-9a-fA-F]+), "([^"]+)" \}/g);
      for (const [, code, name] of items) {
        expect([code, exitReasonName(isa, Number(code) >>> 0)]).toEqual([code, name]);
        equal++;
      }
    });
    console.log(`exit reasons: ${equal} equal to those of kvm:kvm_exit`);
    expect(equal).toBeGreaterThan(100);
  });

  test("knows flags of VMX, the error of SVM, and ARM64's exception classes", () => {
    expect(exitReasonName(ISA_VMX, 0x80000021)).toBe("INVALID_STATE");
    expect(exitReasonName(ISA_SVM, 0xffffffff)).toBe("invalid_guest_state");
    expect(exitReasonName(ISA_ARM64, 0x24)).toBe("DABT_LOW");
    expect(exitReasonName(9, 0)).toBeUndefined();
  });
});
