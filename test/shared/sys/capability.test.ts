/** Capability sets out of /proc's text, and their names. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import {
  CAP_DAC_READ_SEARCH,
  CAP_PERFMON,
  CAP_SYSLOG,
  capabilitiesIn,
  capabilityMask,
  capabilityName,
  parsePrivileges,
  readPrivileges,
} from "../../../shared/sys/capability.ts";

const STATUS = `Name:\tagent-guest
Uid:\t1000\t65534\t1000\t65534
Gid:\t0\t0\t0\t0
CapInh:\t0000004000000004
CapPrm:\t000001ffffffffff
CapEff:\t0000004400004004
CapBnd:\t000000c000000006
CapAmb:\t0000000000000001
NoNewPrivs:\t1
`;

describe("parsePrivileges()", () => {
  test("reads the five sets, the effective user and no_new_privs", () => {
    expect(parsePrivileges(STATUS)).toEqual({
      effectiveUid: 65534,
      inheritable: 0x4000000004n,
      permitted: 0x1ffffffffffn,
      effective: 0x4400004004n,
      bounding: 0xc000000006n,
      ambient: 1n,
      hasNoNewPrivileges: true,
    });
  });

  test("takes a kernel without ambient set and no_new_privs for one that has them empty", () => {
    const old = STATUS.replace(/^CapAmb.*\n/m, "").replace(/^NoNewPrivs.*\n/m, "");
    expect(parsePrivileges(old)).toMatchObject({ ambient: 0n, hasNoNewPrivileges: false });
  });

  test("reads this thread's own", () => {
    const text = readFileSync("/proc/thread-self/status", "latin1");
    const { effective, effectiveUid } = readPrivileges();
    expect(text).toContain(`CapEff:\t${effective.toString(16).padStart(16, "0")}\n`);
    expect(effectiveUid).toBe(process.geteuid!());
  });

  test("refuses text that lacks a set, naming it", () => {
    const text = STATUS.replace(/^CapEff.*\n/m, "");
    expect(() => parsePrivileges(text)).toThrow(
      "Cannot read capabilities: /proc/self/status has no",
    );
  });

  test("any text is a value or a RangeError", () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(STATUS.length), (text, at) => {
        try {
          const parsed = parsePrivileges(STATUS.slice(0, at) + text + STATUS.slice(at + 1));
          expect(parsed.permitted).toBeGreaterThanOrEqual(0n);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

test("capabilityMask() and capabilitiesIn() are each other's inverse", () => {
  expect(capabilityMask(CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_SYSLOG)).toBe(0x4400000004n);
  expect(capabilitiesIn(0x4400000004n)).toEqual([CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_PERFMON]);
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (mask) => {
      expect(capabilityMask(...capabilitiesIn(mask))).toBe(mask);
    }),
  );
});

test("capabilityName() names those that matter here, and numbers others", () => {
  expect([capabilityName(38), capabilityName(63)]).toEqual(["CAP_PERFMON", "capability 63"]);
});
