/** openRegular(), readWhole(): what stands under a name that anybody may have chosen. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { O_NOFOLLOW } from "../../../shared/sys/abi.ts";
import { openRegular, readWhole } from "../../../shared/sys/regular_file.ts";
import { Workspace } from "../../vm/workspace.ts";

let workspace: Workspace;
beforeAll(() => {
  workspace = new Workspace();
});
afterAll(() => workspace.dispose());

function textOf(path: string, bytesMax: number): string | undefined {
  using fd = openRegular(path);
  const bytes = readWhole(fd, bytesMax);
  return bytes && new TextDecoder().decode(bytes);
}

describe("openRegular()", () => {
  test("opens no FIFO, device or folder", () => {
    const fifo = workspace.file("fifo");
    execFileSync("mkfifo", [fifo]);
    for (const path of [fifo, "/dev/zero", "/tmp"]) {
      expect(() => openRegular(path)).toThrow(`Cannot open "${path}": it is no regular file`);
    }
  });

  test("follows a symbolic link, but with O_NOFOLLOW", () => {
    const file = workspace.file("file");
    const link = workspace.file("link");
    writeFileSync(file, "content");
    symlinkSync(file, link);
    expect(textOf(link, 100)).toBe("content");
    expect(() => openRegular(link, O_NOFOLLOW)).toThrow("it is no regular file");
    openRegular(file, O_NOFOLLOW).close();
  });

  test("names the file that is not there", () => {
    expect(() => openRegular("/nonexistent")).toThrow('Cannot open "/nonexistent": ENOENT');
  });
});

describe("readWhole()", () => {
  test("gives no more than it may, and all of what it may", () => {
    const path = workspace.file("ten");
    writeFileSync(path, "0123456789");
    expect(textOf(path, 10)).toBe("0123456789");
    expect(textOf(path, 9)).toBeUndefined();
    writeFileSync(path, "");
    expect(textOf(path, 0)).toBe("");
  });

  test("reads a file of /proc, whose length is 0, to its end or to the limit", () => {
    const kallsyms = textOf("/proc/kallsyms", 2 ** 28)!;
    expect(kallsyms.length).toBeGreaterThan(200_000);
    expect(kallsyms.endsWith("\n")).toBe(true);
    expect(textOf("/proc/kallsyms", 100_000)).toBeUndefined();
  });

  test("takes no memory for a file that is too large", () => {
    const path = workspace.file("sparse");
    writeFileSync(path, "");
    truncateSync(path, 100 * 2 ** 30);
    expect(textOf(path, 2 ** 20)).toBeUndefined();
  });
});
