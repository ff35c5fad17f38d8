/** When an agent starts itself again, with what environment, and what it is handed. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { UsageError } from "../../../shared/cli/failure.ts";
import { hasExcess, keptEnvironment, parseHanded } from "../../../shared/cli/privileges.ts";
import {
  CAP_PERFMON,
  CAP_SETPCAP,
  CAP_SYS_ADMIN,
  capabilityMask,
  type ThreadPrivileges,
} from "../../../shared/sys/capability.ts";

const KEPT = capabilityMask(CAP_PERFMON);
const CONFINED: ThreadPrivileges = {
  effectiveUid: 0,
  inheritable: KEPT,
  permitted: KEPT,
  effective: KEPT,
  bounding: KEPT,
  ambient: KEPT,
  hasNoNewPrivileges: true,
};

describe("hasExcess()", () => {
  test("a process with what it needs and no way to more has none", () => {
    expect(hasExcess(CONFINED, KEPT)).toBe(false);
    const less = { ...CONFINED, permitted: 0n, effective: 0n };
    expect(hasExcess(less, KEPT)).toBe(false);
  });

  for (const set of ["permitted", "inheritable", "ambient"] as const) {
    test(`one capability too many in the ${set} set is excess`, () => {
      const more = { ...CONFINED, [set]: KEPT | capabilityMask(CAP_SYS_ADMIN) };
      expect(hasExcess(more, KEPT)).toBe(true);
    });
  }

  test("execve() that could give more is excess", () => {
    expect(hasExcess({ ...CONFINED, hasNoNewPrivileges: false }, KEPT)).toBe(true);
  });

  test("the bounding set counts for who can make it smaller", () => {
    const wide = { ...CONFINED, bounding: ~0n };
    expect(hasExcess(wide, KEPT)).toBe(false);
    const kept = KEPT | capabilityMask(CAP_SETPCAP);
    expect(hasExcess({ ...wide, effective: kept }, kept)).toBe(true);
  });

  test("a user without capabilities has nothing to give up", () => {
    const user = { ...CONFINED, hasNoNewPrivileges: false, bounding: ~0n };
    const none = { permitted: 0n, inheritable: 0n, effective: 0n, ambient: 0n };
    expect(hasExcess({ ...user, ...none }, KEPT)).toBe(false);
  });
});

describe("keptEnvironment()", () => {
  const environment = {
    PATH: "/bin",
    LC_ALL: "C",
    TZ: "UTC",
    BUN_OPTIONS: "--preload /tmp/x.ts",
    BUN_BE_BUN: "1",
    LD_PRELOAD: "/tmp/x.so",
    NODE_OPTIONS: "--require /tmp/x.js",
    gone: undefined,
  };

  test("a compiled agent keeps what it knows, and nothing that its runtime obeys", () => {
    expect(keptEnvironment(environment, true)).toEqual(["PATH=/bin", "LC_ALL=C", "TZ=UTC"]);
  });

  test("an agent run from source keeps all: its runtime needs it", () => {
    expect(keptEnvironment(environment, false)).toHaveLength(7);
  });
});

describe("parseHanded()", () => {
  test("gives descriptors by path", () => {
    expect([...parseHanded('[4711,[["/a b.vms",5],["c",0]]]', 4711)!]).toEqual([
      ["/a b.vms", 5],
      ["c", 0],
    ]);
    expect(parseHanded("[4711,[]]", 4711)!.size).toBe(0);
  });

  test("takes no word of another process for its own", () => {
    expect(parseHanded('[4711,[["/a.vms",5]]]', 4712)).toBeUndefined();
  });

  for (const text of [
    "",
    "1",
    "{}",
    "[]",
    "[1]",
    '["1",[]]',
    "[1,[[]]]",
    '[1,[["a"]]]',
    '[1,[["a",-1]]]',
    '[1,[["a",1.5]]]',
    "[1,[[5,5]]]",
  ]) {
    test(`refuses ${text === "" ? "an empty text" : text}`, () => {
      expect(() => parseHanded(text, 1)).toThrow(UsageError);
    });
  }

  test("any text is a value or a UsageError", () => {
    const pairs = fc.json().map((json) => `[1,${json}]`);
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), pairs), (text) => {
        try {
          for (const [path, fd] of parseHanded(text, 1) ?? []) {
            expect([typeof path, fd >= 0]).toEqual(["string", true]);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });
});
