/** The texts of failed system calls, and the border between a result and an error. */
import { describe, expect, test } from "bun:test";
import { constants } from "node:os";
import { checked, EAGAIN, EINPROGRESS, EINTR, SysError } from "../../../shared/sys/errno.ts";

describe("SysError", () => {
  test("SysError says action, code and meaning in one line", () => {
    const error = new SysError('open "/dev/x"', 2);
    expect(error.message).toBe('Cannot open "/dev/x": ENOENT (no such file or directory)');
    expect(error.name).toBe("SysError");
    expect(error.errno).toBe(2);
    expect(error.code).toBe("ENOENT");
    expect(error.hint).toBeUndefined();
  });

  test("SysError carries a hint", () => {
    expect(new SysError("map a ring", 1, "ask for less with -m").hint).toBe("ask for less with -m");
  });

  test("SysError prints a number that it has no name for", () => {
    const error = new SysError("do it", 4000);
    expect(error.message).toBe("Cannot do it: errno 4000 (unknown error)");
    expect(error.code).toBe("errno 4000");
  });

  test("SysError names every number as node does", () => {
    const codes = new Map(Object.entries(constants.errno).map(([code, errno]) => [errno, code]));
    let named = 0;
    for (let errno = 1; errno < 134; errno++) {
      const { code } = new SysError("do it", errno);
      if (code.startsWith("errno ")) continue;
      // node lists two names for some numbers: EWOULDBLOCK, ENOTSUP.
      const others = Object.entries(constants.errno).filter(([, value]) => value === errno);
      expect([codes.get(errno), ...others.map(([name]) => name)]).toContain(code);
      named++;
    }
    expect(named).toBeGreaterThan(40);
  });
});

describe("checked", () => {
  test("checked() gives results back, zero and large addresses included", () => {
    for (const result of [0, 1, 2 ** 46]) expect(checked(result, "do it")).toBe(result);
  });

  test("checked() throws the error that -errno stands for", () => {
    expect(() => checked(-17, 'create "x"')).toThrow('Cannot create "x": EEXIST (file exists)');
    expect(() => checked(-4095, "do it")).toThrow(SysError);
  });

  test("checked() and node mean the same numbers", () => {
    const { EAGAIN: again, EINTR: interrupted, EINPROGRESS: inProgress } = constants.errno;
    expect([EAGAIN, EINTR, EINPROGRESS]).toEqual([again, interrupted, inProgress]);
  });
});
