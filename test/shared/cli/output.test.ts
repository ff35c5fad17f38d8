/** stdout by plain writes: all of it, a full pipe, a reader that goes, a full disk. */
import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Output, OutputClosedError } from "../../../shared/cli/output.ts";
import { versionLine } from "../../../shared/cli/version.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { syscall } from "../../../shared/sys/syscall.ts";

const SYS_PIPE2 = 293;
const O_NONBLOCK = 0o4000;

function pipe(flags: number): { readFd: number; writeFd: number } {
  using memory = Mapping.anonymous(4096);
  expect(syscall(SYS_PIPE2, memory.address, flags, 0, 0, 0, 0)).toBe(0);
  const [readFd = -1, writeFd = -1] = new Int32Array(memory.buffer, 0, 2);
  return { readFd, writeFd };
}

describe("Output", () => {
  test("write() writes all bytes, a part of an array included", () => {
    const path = join(tmpdir(), `vmspan-output-${process.pid}`);
    const fd = openSync(path, "w");
    const output = new Output(fd, "stdout");
    output.write(new TextEncoder().encode("one\n"));
    output.write(new Uint8Array(0));
    output.write(new TextEncoder().encode("xtwo\nx").subarray(1, 5));
    closeSync(fd);
    expect(readFileSync(path, "utf8")).toBe("one\ntwo\n");
    rmSync(path);
  });

  test("write() waits where a pipe is full, and loses nothing", async () => {
    const { readFd, writeFd } = pipe(O_NONBLOCK);
    // Another process reads: this one blocks in write() meanwhile.
    const reader = spawn("/usr/bin/sha1sum", [], { stdio: [readFd, "pipe", "inherit"] });
    closeSync(readFd);
    const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => i * 7);
    new Output(writeFd, "stdout").write(bytes);
    closeSync(writeFd);
    let printed = "";
    for await (const chunk of reader.stdout!) printed += chunk;
    const hash = new Bun.CryptoHasher("sha1").update(bytes).digest("hex");
    expect(printed).toStartWith(hash);
  });

  test("write() tells a reader that has gone from a failure", () => {
    const { readFd, writeFd } = pipe(0);
    closeSync(readFd);
    const output = new Output(writeFd, "stdout");
    expect(() => output.write(Uint8Array.of(1))).toThrow(OutputClosedError);
    closeSync(writeFd);
  });

  test("write() to a full disk says so", () => {
    const fd = openSync("/dev/full", "w");
    const output = new Output(fd, "stdout");
    expect(() => output.write(Uint8Array.of(1))).toThrow(
      "Cannot write stdout: ENOSPC (no space left on device)",
    );
    expect(() => output.write(Uint8Array.of(1))).toThrow(SysError);
    closeSync(fd);
  });

  test("what was written comes out as it went in", () => {
    const { readFd, writeFd } = pipe(0);
    new Output(writeFd, "stdout").write(Uint8Array.of(1, 2, 3));
    const into = new Uint8Array(8);
    expect(readSync(readFd, into)).toBe(3);
    expect([...into.subarray(0, 3)]).toEqual([1, 2, 3]);
    closeSync(readFd);
    closeSync(writeFd);
  });
});

test("versionLine() names program, version and runtime", () => {
  expect(versionLine("agent-guest")).toMatch(/^agent-guest \S+ \(bun\)$/);
});
