/**
 * What a wrong command line of agent-host gets: one line that says what and why, perhaps a caret
 * under the place and a HINT, the documented exit code, never a stack, never a run that measures
 * something else instead.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { Workspace } from "../../vm/workspace.ts";
import { runAgent } from "../support/agent_process.ts";
import { type Case, EVENT_CASES, ONE, SWITCH, WAKEUP } from "./event_cases.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
  mkdirSync(workspace.file("folder"));
  writeFileSync(workspace.file("text"), "root:x:0:0:root:/root:/bin/bash\n");
  writeFileSync(workspace.file("empty"), "");
  writeFileSync(workspace.file("binary"), crypto.getRandomValues(new Uint8Array(65536)));
});

afterAll(() => workspace.dispose());

/** Paths in the table are relative to the workspace, in which the agents run. */
const SOURCE_CASES: readonly Case[] = [
  {
    name: "push= on the host",
    args: ["trace", "-e", `${SWITCH}//push=9900/`, ...ONE],
    code: EXIT.USAGE,
    message: /push= is agent-guest's, a host pulls$/,
    hint: /pull=/,
  },
  {
    name: "pull=99999",
    args: ["trace", "-e", `${SWITCH}//pull=99999/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot pull from "99999": port 99999, wants 1 to 65535$/,
    hint: /pull=PORT/,
  },
  {
    name: "pull=0",
    args: ["trace", "-e", `${SWITCH}//pull=0/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot pull from "0": port 0, wants 1 to 65535$/,
  },
  {
    name: "pull= of a name",
    args: ["trace", "-e", `${SWITCH}//pull=nosuch/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot pull from "nosuch": no port, address or path$/,
    hint: /pull=PORT/,
  },
  {
    name: "pull= that nobody serves",
    args: ["trace", "-e", `${SWITCH}//pull=1/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot pull from 1: 127\.0\.0\.1:1: ECONNREFUSED .*\[::1\]:1: ECONNREFUSED/,
    hint: /agent-guest/,
  },
  {
    name: "pull= of a unix socket that is not there",
    args: ["trace", "-e", `${SWITCH}//pull=unix:nosuch.sock/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot pull from unix:nosuch\.sock: .*ENOENT/,
  },
  {
    name: "pull= of a unix socket whose path is too long",
    args: ["trace", "-e", `${SWITCH}//pull="unix:${"x".repeat(200)}"/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot pull from unix:x+: use unix socket "x+": 200 bytes, wants at most 107$/,
  },
  {
    name: "pull= of an address with a zone",
    args: ["trace", "-e", `${SWITCH}//pull=[fe80::1%lo]:1/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot pull from \[fe80::1%lo\]:1: use host "fe80::1%lo": wants an IPv4 or IPv6/,
  },
  {
    name: "pull= of a file that is not there",
    args: ["trace", "-e", `${SWITCH}//pull="./nosuch"/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot open "\.\/nosuch": ENOENT /,
  },
  {
    name: "pull= of a directory",
    args: ["trace", "-e", `${SWITCH}//pull="./folder"/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot read \.\/folder: EISDIR /,
  },
  {
    name: "pull= of a text file",
    args: ["trace", "-e", `${SWITCH}//pull="./text"/`, ...ONE],
    code: EXIT.SOURCE,
    message:
      /^Cannot read "\.\/text": no stream of agent-guest in it \(32 bytes of something else\)$/,
    hint: /push=FILE/,
  },
  {
    name: "pull= of random bytes",
    args: ["trace", "-e", `${SWITCH}//pull="./binary"/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot read "\.\/binary": no stream of agent-guest in it \(65536 bytes/,
  },
  {
    name: "pull= of an empty file",
    args: ["trace", "-e", `${SWITCH}//pull="./empty"/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot read "\.\/empty": no stream of agent-guest in it \(it is empty\)$/,
  },
  ...(
    [
      ["a directory", "folder", EXIT.USAGE, /^Cannot use --resume "folder": it is no regular file/],
      ["a folder that is not there", "nosuch/x", EXIT.FAILED, /"nosuch\/x": ENOENT \(no such file/],
      [
        "a folder that is a file",
        "text/x",
        EXIT.FAILED,
        /^Cannot use --resume "text\/x": ENOTDIR /,
      ],
      ["somebody else's file", "text", EXIT.USAGE, /"text": no agent-host has written it \(/],
    ] as const
  ).map(
    ([name, file, code, message]): Case => ({
      name: `--resume in ${name}`,
      args: ["trace", "-e", `${SWITCH}//pull=1/`, "--resume", file],
      code,
      message,
      hint: /^give another name/,
    }),
  ),
  {
    name: "a refused pull= beside local events",
    args: ["multi-trace", "-e", SWITCH, "-e", `${SWITCH}//pull=1/`, ...ONE],
    code: EXIT.SOURCE,
    message: /^Cannot pull from 1: /,
  },
];

const OPTION_CASES: readonly Case[] = [
  {
    name: "no -e",
    args: ["trace"],
    code: EXIT.USAGE,
    message: /^Cannot trace: no event given$/,
    hint: /^-e SYSTEM:NAME/,
  },
  {
    name: "one -e for multi-trace",
    args: ["multi-trace", "-e", SWITCH],
    code: EXIT.USAGE,
    message: /^Cannot multi-trace: one -e is one stage/,
    hint: /--cycle/,
  },
  {
    name: "-C 9",
    args: ["trace", "-e", SWITCH, "-C", "4095", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot sample CPU 4095: not online, wants some of 0/,
  },
  {
    name: "-C that is no list",
    args: ["trace", "-e", SWITCH, "-C", "0-", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse CPU list "0-"/,
    hint: /-C 0-3,8/,
  },
  {
    name: "-m 3",
    args: ["trace", "-e", SWITCH, "-m", "3", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot use -m 3: wants a power of two of pages/,
    hint: /-m 1024/,
  },
  {
    name: "--than zzz",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "--than", "zzz"],
    code: EXIT.USAGE,
    message: /^Cannot use --than zzz: wants a duration as 1ms, 50us or 800ns$/,
  },
  {
    name: "--tsc-offset zzz",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "--tsc", "--tsc-offset", "zzz"],
    code: EXIT.USAGE,
    message: /^Cannot use --tsc-offset zzz: wants a 64-bit number$/,
    hint: /0xffdafd48df582d22/,
  },
  {
    name: "--detail=nosuch",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "--than", "1ms", "--detail=nosuch"],
    code: EXIT.USAGE,
    message: /^Cannot use --detail=nosuch: "nosuch" is unknown$/,
    hint: /samecpu/,
  },
  {
    name: "--only-than without --than",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "--only-than"],
    code: EXIT.USAGE,
    message: /^Cannot use --only-than: /,
    hint: /--than/,
  },
  {
    name: "--detail without --than",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "--detail"],
    code: EXIT.USAGE,
    message: /^Cannot use --detail: /,
    hint: /--than/,
  },
  {
    name: "-p and -t together",
    args: ["trace", "-e", SWITCH, "-p", "1", "-t", "1"],
    code: EXIT.USAGE,
    message: /^Cannot use -p and -t together/,
  },
  {
    name: "-N 0",
    args: ["trace", "-e", SWITCH, "-N", "0"],
    code: EXIT.USAGE,
    message: /^Cannot use -N 0: wants a whole number from 1$/,
  },
  {
    name: "-i zzz",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "-i", "zzz"],
    code: EXIT.USAGE,
    message: /^Cannot use -i zzz: wants a whole number from 1$/,
  },
  {
    name: "an unknown option",
    args: ["trace", "-e", SWITCH, "--nosuch"],
    code: EXIT.USAGE,
    message: /^Cannot understand the command line: unknown option '--nosuch'/,
    hint: /^agent-host trace --help$/,
  },
  {
    name: "an unknown sub-command",
    args: ["tracee", "-e", SWITCH],
    code: EXIT.USAGE,
    message: /^Cannot understand the command line: unknown command 'tracee' .*trace/,
    hint: /^agent-host --help$/,
  },
  {
    name: "-p of a process that has ended",
    args: ["trace", "-e", SWITCH, "-p", "4194303", ...ONE],
    code: EXIT.FAILED,
    message: /^Cannot .*ESRCH \(no such process\)$/,
  },
  {
    name: "-t of a thread that there is not",
    args: ["trace", "-e", SWITCH, "-t", "4194303", ...ONE],
    code: EXIT.FAILED,
    message: /^Cannot sample thread 4194303: ESRCH \(no such process\)$/,
  },
  {
    name: "-p that is no number",
    args: ["trace", "-e", SWITCH, "-p", "init", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot use -p init: wants a process or thread id$/,
  },
  {
    name: "--vm of nobody",
    args: ["trace", "-e", `${SWITCH}//pull=1/`, "--vm", "4194303", ...ONE],
    code: EXIT.FAILED,
    message: /^Cannot find process or virtual machine "4194303": (there are \d|no virtual machine)/,
    hint: /-name guest=NAME/,
  },
];

/** Checks the shape of stderr, and takes it apart. */
function parts(stderr: string) {
  const lines = stderr.trimEnd().split("\n");
  const first = lines[0] ?? "";
  expect(first).toStartWith("agent-host: ERROR: ");
  const isCaret = /^ {2,}\^$/.test(lines[2] ?? "");
  const rest = lines.slice(isCaret ? 3 : 1);
  // A HINT, or nothing: no second message and no stack.
  expect(rest.length).toBeLessThanOrEqual(1);
  for (const line of rest) expect(line).toStartWith("HINT: ");
  return {
    message: first.slice("agent-host: ERROR: ".length),
    shown: isCaret ? lines[1]!.slice(2) : undefined,
    at: isCaret ? lines[1]!.slice(lines[2]!.length - 1) : undefined,
    hint: rest[0]?.slice("HINT: ".length),
  };
}

function define(title: string, cases: readonly Case[]): void {
  describe(title, () => {
    for (const { name, args, code, message, hint, caret } of cases) {
      test(`agent-host given ${name} exits ${code} and says why`, async () => {
        const result = await runAgent(workspace, "agent-host", args);
        expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: "" });
        const said = parts(result.stderr);
        expect(said.message).toMatch(message);
        if (hint !== undefined) expect(said.hint).toMatch(hint);
        if (caret === undefined) {
          expect(said.shown).toBeUndefined();
          return;
        }
        expect(said.shown).toBe(caret[0]);
        if (caret[1] === "") expect(said.at).toBe("");
        else expect(said.at).toStartWith(caret[1]);
      });
    }
  });
}

define("events", EVENT_CASES);
define("sources", SOURCE_CASES);
define("options", OPTION_CASES);

describe("help and version", () => {
  test("no sub-command prints the help to stderr and exits 2", async () => {
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", []);
    expect({ code, stdout }).toEqual({ code: EXIT.USAGE, stdout: "" });
    expect(stderr).toStartWith("Usage: agent-host [options] [command]\n");
    expect(stderr).not.toContain("ERROR");
  });

  test("what cannot be printed is an error, of doctor and of each --help", async () => {
    const full = ["sh", "-c", 'exec "$@" >/dev/full', "sh"];
    for (const args of [["doctor"], ["--version"], ["--help"], ["trace", "--help"]]) {
      const { code, stderr } = await runAgent(workspace, "agent-host", args, { wrapper: full });
      expect({ args, code }).toEqual({ args, code: EXIT.FAILED });
      expect(stderr).toContain("ERROR: Cannot write stdout: ENOSPC (no space left on device)");
    }
  });

  test("a stdout that is closed is an error before anything is done", async () => {
    const closed = ["sh", "-c", 'exec "$@" >&-', "sh"];
    for (const args of [["trace", "-e", SWITCH, ...ONE], ["doctor"]]) {
      const { code, stderr } = await runAgent(workspace, "agent-host", args, { wrapper: closed });
      expect({ args, code }).toEqual({ args, code: EXIT.FAILED });
      expect(stderr).toBe("agent-host: ERROR: Cannot write stdout: EBADF (bad file descriptor)\n");
    }
  });

  test("--version and each --help exit 0", async () => {
    const version = await runAgent(workspace, "agent-host", ["--version"]);
    expect(version).toMatchObject({ code: 0, stderr: "" });
    expect(version.stdout).toMatch(/^agent-host \S+ \(bun\)\n$/);
    for (const command of ["trace", "multi-trace", "doctor"]) {
      const help = await runAgent(workspace, "agent-host", [command, "--help"]);
      expect(help).toMatchObject({ code: 0, stderr: "" });
      expect(help.stdout).toStartWith(`Usage: agent-host ${command} [options]\n`);
    }
  });
});
