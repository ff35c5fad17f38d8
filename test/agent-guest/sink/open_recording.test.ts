/** openRecording(): what another user puts at the path of a recording is not written to. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { openRecording } from "../../../agent-guest/sink/file_sink.ts";
import { S_IFCHR } from "../../../shared/sys/abi.ts";
import { statusOf, withUmask } from "../../../shared/sys/fd.ts";
import { IS_ROOT, makeSharedFolder, OTHER_UID } from "../../shared/sys/support/shared_folder.ts";
import type { Workspace } from "../../vm/workspace.ts";

let workspace: Workspace;
let shared: string;
let victim: string;

beforeAll(() => {
  ({ workspace, shared, victim } = makeSharedFolder());
});

afterAll(() => workspace.dispose());

function expectRefusal(path: string, message: string): void {
  expect(() => openRecording(path)).toThrow(message);
  expect(readFileSync(victim, "utf8")).toBe("precious");
}

describe("openRecording()", () => {
  test("creates a file that only its owner may read, whatever the umask", () => {
    const path = `${shared}/new.vms`;
    withUmask(0, () => openRecording(path)).close();
    expect(statSync(path).mode & 0o7777).toBe(0o600);
  });

  test("leaves the content of a file for the sink to remove", () => {
    const path = `${shared}/own.vms`;
    writeFileSync(path, "before");
    openRecording(path).close();
    expect(readFileSync(path, "utf8")).toBe("before");
  });

  test("does not follow a symbolic link to a file", () => {
    const path = `${shared}/link.vms`;
    symlinkSync(victim, path);
    expectRefusal(path, "ELOOP");
  });

  test("does not create the file that a dangling link names", () => {
    const path = `${shared}/dangling.vms`;
    symlinkSync(workspace.file("created"), path);
    expectRefusal(path, "ELOOP");
    expect(statSync(workspace.file("created"), { throwIfNoEntry: false })).toBeUndefined();
  });

  test("does not take a hard link", () => {
    const path = `${shared}/hard.vms`;
    linkSync(victim, path);
    expectRefusal(path, "it is one of 2 names of a file (hard links), wants one");
  });

  test.skipIf(!IS_ROOT)("does not take another user's file in a folder like /tmp", () => {
    const path = `${shared}/theirs.vms`;
    writeFileSync(path, "");
    chownSync(path, OTHER_UID, OTHER_UID);
    expectRefusal(path, `it belongs to user ${OTHER_UID}, in a folder where everybody may create`);
  });

  test.skipIf(!IS_ROOT)("takes a file of the user whose folder it is", () => {
    const folder = workspace.file("home");
    mkdirSync(folder);
    const path = `${folder}/x.vms`;
    writeFileSync(path, "");
    chownSync(folder, OTHER_UID, OTHER_UID);
    chownSync(path, OTHER_UID, OTHER_UID);
    openRecording(path).close();
    expect(statSync(path).uid).toBe(OTHER_UID);
  });

  test("does not wait for the reader of a FIFO", () => {
    const path = `${shared}/fifo.vms`;
    execFileSync("mkfifo", [path]);
    expectRefusal(path, "ENXIO");
  });

  test("takes /dev/null", () => {
    using fd = openRecording("/dev/null");
    expect(statusOf(fd).type).toBe(S_IFCHR);
  });
});
