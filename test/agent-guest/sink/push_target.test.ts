/** push= values: which sink each one names, and what is no sink. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  PushTargetError,
  parsePushTarget,
  pushOfEach,
} from "../../../agent-guest/sink/push_target.ts";
import { UsageError } from "../../../shared/cli/failure.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { listenOn } from "../../../shared/sys/socket.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-push-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

listenOn({ kind: "unix", path: at("socket") }).close();
writeFileSync(at("plain"), "");
symlinkSync("/dev/ptmx", at("port"));
symlinkSync(at("nowhere"), at("dangling"));

describe("parsePushTarget", () => {
  const accepted: readonly (readonly [string, object])[] = [
    ["9900", { kind: "tcp", host: "127.0.0.1", port: 9900 }],
    ["1", { kind: "tcp", host: "127.0.0.1", port: 1 }],
    ["65535", { kind: "tcp", host: "127.0.0.1", port: 65535 }],
    ["10.0.0.1:9900", { kind: "tcp", host: "10.0.0.1", port: 9900 }],
    ["0.0.0.0:9900", { kind: "tcp", host: "0.0.0.0", port: 9900 }],
    ["localhost:9900", { kind: "tcp", host: "127.0.0.1", port: 9900 }],
    ["[::1]:9900", { kind: "tcp", host: "::1", port: 9900 }],
    ["[fe80::1]:80", { kind: "tcp", host: "fe80::1", port: 80 }],
    ["unix:/run/x.sock", { kind: "unix", path: "/run/x.sock" }],
    ["unix:x.sock", { kind: "unix", path: "x.sock" }],
    ["file:x.vms", { kind: "file", path: "x.vms" }],
    ["file:9900", { kind: "file", path: "9900" }],
    ["file:/dev/full", { kind: "file", path: "/dev/full" }],
    ["./9900", { kind: "file", path: "./9900" }],
    [at("new.vms"), { kind: "file", path: at("new.vms") }],
    [at("plain"), { kind: "file", path: at("plain") }],
    [at("dangling"), { kind: "file", path: at("dangling") }],
    [at("socket"), { kind: "unix", path: at("socket") }],
    [at("port"), { kind: "device", path: at("port") }],
    ["/dev/ptmx", { kind: "device", path: "/dev/ptmx" }],
    ["/dev/null", { kind: "file", path: "/dev/null" }],
    ["/dev/full", { kind: "file", path: "/dev/full" }],
  ];
  for (const [text, target] of accepted) {
    test(`parsePushTarget() takes ${text.replace(folder, "FOLDER")}`, () => {
      expect(parsePushTarget(text)).toEqual(target as never);
    });
  }

  const refused: readonly (readonly [string, string])[] = [
    ["", "no port, address or path"],
    ["0", "port 0, wants 1 to 65535"],
    ["65536", "port 65536, wants 1 to 65535"],
    ["99999", "port 99999, wants 1 to 65535"],
    ["1.2.3.4:0", "port 0, wants 1 to 65535"],
    ["2024x", "no port, address or path"],
    ["x2024", "no port, address or path"],
    ["-1", "no port, address or path"],
    ["+9900", "no port, address or path"],
    ["9900 ", "no port, address or path"],
    ["0x26ac", "no port, address or path"],
    [":9900", "no port, address or path"],
    ["1.2.3.4", "no port, address or path"],
    ["1.2.3:9900", "no port, address or path"],
    ["1.2.3.4:", "no port, address or path"],
    ["::1:9900", "no port, address or path"],
    ["[::1]", "no port, address or path"],
    ["[::1]9900", "no port, address or path"],
    ["example.com:9900", "no port, address or path"],
    ["unix:", "the path is empty"],
    ["file:", "the path is empty"],
    ["/", "it is a directory"],
    [folder, "it is a directory"],
    [`file:${folder}`, "it is a directory"],
    ["/dev/nope", "no such device"],
    ["/dev/virtio-ports/org.example.nope", "no such device"],
    [`${at("plain")}/x`, "ENOTDIR"],
  ];
  for (const [text, reason] of refused) {
    test(`parsePushTarget() refuses ${JSON.stringify(text.replace(folder, "FOLDER"))}`, () => {
      expect(() => parsePushTarget(text)).toThrow(PushTargetError);
      expect(() => parsePushTarget(text)).toThrow(reason);
    });
  }

  test.skipIf(process.getuid?.() !== 0)("parsePushTarget() refuses what it would destroy", () => {
    spawnSync("mkfifo", [at("fifo")]);
    // A node of a device that does not exist.
    spawnSync("mknod", [at("disk"), "b", "7", "250"]);
    for (const [name, what] of [
      ["fifo", "a FIFO"],
      ["disk", "a block device"],
    ] as const) {
      for (const prefix of ["", "file:"]) {
        expect(() => parsePushTarget(`${prefix}${at(name)}`)).toThrow(
          `Cannot push to "${at(name)}": it is ${what}`,
        );
      }
    }
  });

  test("parsePushTarget() of any text gives a target or PushTargetError", () => {
    const pieces = fc.constantFrom(
      "9900",
      ":",
      "[",
      "]",
      "::1",
      "unix:",
      "file:",
      ".",
      "x",
      "1.2.3.4",
    );
    const texts = fc.oneof(
      fc.array(pieces, { maxLength: 6 }).map((parts) => parts.join("")),
      fc.string({ unit: "binary-ascii", maxLength: 20 }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          const target = parsePushTarget(text);
          if (target.kind === "tcp") expect(target.port).toBeLessThanOrEqual(65535);
          else expect(target.path).not.toBe("");
        } catch (error) {
          expect(error).toBeInstanceOf(PushTargetError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("pushOfEach", () => {
  const pushes = (text: string): string[] => pushOfEach(parseEventSpecs(text));

  test("pushOfEach() lets events without a place of their own follow the only one there is", () => {
    expect(pushes("a:b,c:d//push=9900/")).toEqual(["9900", "9900"]);
    expect(pushes("a:b//push=9900/,c:d")).toEqual(["9900", "9900"]);
    expect(pushes("a:b//push=1/,c:d//push=2/")).toEqual(["1", "2"]);
  });

  test("pushOfEach() refuses to guess between two, or among none", () => {
    expect(() => pushes("a:b//push=1/,c:d//push=2/,e:f")).toThrow(UsageError);
    expect(() => pushes("a:b")).toThrow('Cannot use "a:b": it says not where to push its events');
  });
});
