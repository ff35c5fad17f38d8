/** Every way to write pull=, and what is none. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import * as fc from "fast-check";
import {
  PullSourceError,
  parseHostEvents,
  parsePullTarget,
} from "../../../agent-host/link/pull_target.ts";
import { listenOn } from "../../../shared/sys/socket.ts";
import { Workspace } from "../../vm/workspace.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;

describe("parsePullTarget()", () => {
  for (const [text, candidates] of [
    ["9900", [tcp("127.0.0.1", 9900), tcp("::1", 9900)]],
    ["1", [tcp("127.0.0.1", 1), tcp("::1", 1)]],
    ["65535", [tcp("127.0.0.1", 65535), tcp("::1", 65535)]],
    ["localhost:9900", [tcp("127.0.0.1", 9900), tcp("::1", 9900)]],
    ["10.0.0.1:9900", [tcp("10.0.0.1", 9900)]],
    ["[::1]:9900", [tcp("::1", 9900)]],
    ["[fe80::1:2]:80", [tcp("fe80::1:2", 80)]],
    ["unix:/run/x.sock", [{ kind: "unix", path: "/run/x.sock" }]],
    ["unix:x", [{ kind: "unix", path: "x" }]],
  ] as const) {
    test(`takes ${text} as a socket`, () => {
      const target = parsePullTarget(text);
      expect(target).toEqual({ kind: "socket", name: text, candidates: [...candidates] });
    });
  }

  for (const [text, path] of [
    ["/tmp/nosuch.vms", "/tmp/nosuch.vms"],
    ["./a.vms", "./a.vms"],
    ["folder/a.vms", "folder/a.vms"],
    ["file:a.vms", "a.vms"],
    ["file:9900", "9900"],
  ] as const) {
    test(`takes ${text} as a file`, () => {
      expect(parsePullTarget(text)).toEqual({ kind: "file", name: text, path });
    });
  }

  test("tells a socket from a file by what lies at the path", () => {
    const [socket, file] = [workspace.file("s"), workspace.file("f")];
    using _listener = listenOn({ kind: "unix", path: socket });
    writeFileSync(file, "");
    const candidates = [{ kind: "unix", path: socket } as const];
    expect(parsePullTarget(socket)).toEqual({ kind: "socket", name: `unix:${socket}`, candidates });
    expect(parsePullTarget(file)).toEqual({ kind: "file", name: file, path: file });
  });

  for (const text of [
    ...["", "0", "65536", "99999", "9900x", "-1", "1e3", "0x10", "host", "host:9900", "unix:"],
    ...["1.2.3:80", "1.2.3.4:0", "1.2.3.4:", ":9900", "[::1]", "[::1]:99999", "[zz]:1", "file:"],
  ]) {
    test(`refuses "${text}", and says what would do`, () => {
      expect(() => parsePullTarget(text)).toThrow(PullSourceError);
      expect(() => parsePullTarget(text)).toThrow(/^Cannot pull from "/);
    });
  }

  test("refuses a name that holds NUL", () => {
    for (const text of ["/\0", "unix:/\0", "file:\0", "\0"]) {
      expect(() => parsePullTarget(text)).toThrow(PullSourceError);
    }
  });

  test("gives a target or a PullSourceError for any text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(["socket", "file"]).toContain(parsePullTarget(text).kind);
        } catch (error) {
          expect(error).toBeInstanceOf(PullSourceError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("parseHostEvents()", () => {
  const pullsOf = (text: string): (string | undefined)[] =>
    parseHostEvents(text).map(({ attributes }) => attributes.pull);

  test("one place holds for all events of its -e, pull=local for none", () => {
    expect(pullsOf("a:b,c:d//pull=9900/")).toEqual(["9900", "9900"]);
    expect(pullsOf("a:b/x==1/pull=9900/,c:d//key=x/")).toEqual(["9900", "9900"]);
    expect(pullsOf("a:b//pull=local/,c:d//pull=9900/")).toEqual([undefined, "9900"]);
    expect(pullsOf("a:b,c:d")).toEqual([undefined, undefined]);
    expect(pullsOf("a:b//pull=local/")).toEqual([undefined]);
  });

  test("two places leave an event without one in doubt", () => {
    const both = "a:b//pull=1/,c:d//pull=2/";
    expect(pullsOf(both)).toEqual(["1", "2"]);
    expect(() => parseHostEvents(`${both},e:f`)).toThrow(
      'Cannot tell where "e:f" comes from: the others of its -e are pulled from 1 and 2',
    );
    expect(pullsOf(`${both},e:f//pull=local/`)).toEqual(["1", "2", undefined]);
  });
});
