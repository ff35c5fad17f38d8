/** ResumeFile in a folder where everybody may create files: what another user puts there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { ResumeFile, type SourceResume } from "../../agent-host/resume_file.ts";
import { IS_ROOT, makeSharedFolder, OTHER_UID } from "../shared/sys/support/shared_folder.ts";
import type { Workspace } from "../vm/workspace.ts";

const SOURCE: SourceResume = {
  name: "127.0.0.1:9900",
  streamNonce: 0x89ab_cdefn,
  cpus: [],
  completeNs: undefined,
  ended: [],
};

let workspace: Workspace;
let shared: string;
let victim: string;

beforeAll(() => {
  ({ workspace, shared, victim } = makeSharedFolder());
});

afterAll(() => workspace.dispose());

function expectSaved(path: string): void {
  new ResumeFile(path).save([SOURCE]);
  expect(new ResumeFile(path).of(SOURCE.name)).toEqual(SOURCE);
  expect(statSync(path).mode & 0o7777).toBe(0o600);
  expect(statSync(path).uid).toBe(process.geteuid!());
  expect(readFileSync(victim, "utf8")).toBe("precious");
  expect(existsSync(`${path}.new`)).toBe(false);
}

describe("what a guest claims", () => {
  const ring = { cpu: 0, position: 96, shown: 0, samples: 2, droppedEvents: 0, gapBytes: 0 };
  const row = { cpu: 0, position: 8, produced: undefined, delivered: 1, gapBytes: 0 };

  test("of lost events beyond what a number tells apart, can be read back", () => {
    const path = workspace.file("claims");
    const drops = [{ place: "x", events: 2 ** 64 }];
    const ended = [
      { first: 1, last: 1, rows: [{ ...row, lostKernel: 2 ** 54, drops }], completeNs: undefined },
    ];
    new ResumeFile(path).save([{ ...SOURCE, cpus: [{ ...ring, lostEvents: 2 ** 60 }], ended }]);
    const found = new ResumeFile(path).of(SOURCE.name)!;
    expect(found.cpus).toEqual([{ ...ring, lostEvents: Number.MAX_SAFE_INTEGER }]);
    expect(found.ended[0]!.rows[0]!.drops[0]!.events).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("of ended streams in more bytes than are read back, is left out: where to go on is not", () => {
    const path = workspace.file("large");
    const drops = [{ place: "x".repeat(40), events: 1 }];
    const rows = new Array(200_000).fill({ ...row, lostKernel: 0, drops });
    const ended = [{ first: 1, last: 1, rows, completeNs: undefined }];
    const cpus = [{ ...ring, lostEvents: 1 }];
    new ResumeFile(path).save([{ ...SOURCE, cpus, ended }]);
    expect(new ResumeFile(path).of(SOURCE.name)).toMatchObject({ cpus, ended: [] });
  });
});

describe("ResumeFile.save()", () => {
  test("writes to no file that a symbolic or a hard link at FILE.new leads to", () => {
    const path = `${shared}/linked`;
    symlinkSync(victim, `${path}.new`);
    expectSaved(path);
    linkSync(victim, `${path}.new`);
    expectSaved(path);
  });

  test("does not write into a file that was there, which others may read", () => {
    const path = `${shared}/there`;
    writeFileSync(`${path}.new`, "", { mode: 0o666 });
    chmodSync(`${path}.new`, 0o666);
    if (IS_ROOT) chownSync(`${path}.new`, OTHER_UID, OTHER_UID);
    expectSaved(path);
  });

  test("replaces a symbolic link at FILE, and leaves what it leads to", () => {
    const path = `${shared}/link`;
    const target = workspace.file("target");
    new ResumeFile(target).save([]);
    const before = readFileSync(target, "utf8");
    symlinkSync(target, path);
    expectSaved(path);
    expect(readFileSync(target, "utf8")).toBe(before);
  });
});

describe("new ResumeFile()", () => {
  test.skipIf(!IS_ROOT)("believes no file of another user in a folder like /tmp", () => {
    const path = `${shared}/other`;
    new ResumeFile(path).save([SOURCE]);
    chownSync(path, OTHER_UID, OTHER_UID);
    expect(() => new ResumeFile(path)).toThrow(
      `Cannot use --resume "${path}": it is of user ${OTHER_UID}, in a folder where everybody`,
    );
    const own = workspace.file("own");
    new ResumeFile(own).save([SOURCE]);
    chownSync(own, OTHER_UID, OTHER_UID);
    expect(new ResumeFile(own).of(SOURCE.name)).toEqual(SOURCE);
  });

  test("waits for nobody at a FIFO, and reads nothing that is too large", () => {
    const fifo = `${shared}/fifo`;
    execFileSync("mkfifo", [fifo]);
    expect(() => new ResumeFile(fifo)).toThrow("it is no regular file");
    const large = `${shared}/large`;
    writeFileSync(large, "");
    truncateSync(large, 100 * 2 ** 30);
    expect(() => new ResumeFile(large)).toThrow("it is too large");
  });
});
