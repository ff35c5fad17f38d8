/**
 * What bad input gets: one line that says what, why and what was wanted, perhaps a caret and a
 * HINT, and an exit code. Never a stack trace, never a hang, never something else done instead.
 */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { ioctl } from "../../shared/sys/fd.ts";
import { listenOn } from "../../shared/sys/socket.ts";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { runAgent, type StartOptions } from "../agent-host/support/agent_process.ts";
import { openPty } from "../bench/pty.ts";
import { NO_TRACING } from "../shared/event/kernel.ts";
import { Workspace } from "../vm/workspace.ts";

interface Row {
  readonly name: string;
  /** After `trace`; FOLDER is a folder of the row's own. */
  readonly args: readonly string[];
  readonly code: number;
  /** Part of the first line, behind "agent-guest: ERROR: ". */
  readonly error: string | RegExp;
  readonly hint?: string | RegExp;
  /** What the caret points at. */
  readonly caret?: string;
  /** It ran: what was sampled is accounted for before the error. */
  readonly hasLedger?: true;
  readonly prepare?: (workspace: Workspace) => void;
  readonly wrapper?: readonly string[];
}

const [FAILED, USAGE] = [1, 2];
const EVENT = "raw_syscalls:sys_enter";
const TO_FILE = `${EVENT}//push=FOLDER/x.vms/`;

function pushRow(push: string, error: string | RegExp, more: Partial<Row> = {}): Row {
  const args = ["-e", `${EVENT}//push="${push}"/`];
  return { name: `push=${push}`, args, code: USAGE, error, ...more };
}

const USAGE_ROWS: readonly Row[] = [
  {
    name: "no event",
    args: [],
    code: USAGE,
    error: "Cannot trace: no event given",
    hint: "-e SYS",
  },
  {
    name: "an unknown option",
    args: ["--nosuch"],
    code: USAGE,
    error: /unknown option '--nosuch'/,
  },
  {
    name: "-e without a value",
    args: ["-e"],
    code: USAGE,
    error: /'-e, --event <EVENT>' argument missing/,
  },
  {
    name: "an excess argument",
    args: ["-e", TO_FILE, "more"],
    code: USAGE,
    error: /too many arguments/,
  },
  {
    name: "a filter without its slash",
    args: ["-e", "irq:irq_handler_entry/irq==3"],
    code: USAGE,
    error: 'Cannot parse event: "/" is missing after the filter',
    caret: "",
  },
  {
    name: "an unknown attribute",
    args: ["-e", `${EVENT}//nosuchattr=1/`],
    code: USAGE,
    error: 'unknown attribute "nosuchattr", knows push pull key',
    caret: "nosuchattr=1/",
  },
  {
    name: "text that is no event",
    args: ["-e", "garbage"],
    code: USAGE,
    error: '"garbage" is no event, wants SYSTEM:NAME',
    caret: "garbage",
  },
  {
    name: "an event that goes nowhere",
    args: ["-e", EVENT],
    code: USAGE,
    error: `Cannot use "${EVENT}": it says not where to push its events`,
    hint: "add push=",
  },
  {
    name: "pull= in the guest",
    args: ["-e", `${EVENT}//pull=9900/`],
    code: USAGE,
    error: "a guest pushes, and pull= is agent-host's",
  },
  {
    name: "-m 3",
    args: ["-e", TO_FILE, "-m", "3"],
    code: USAGE,
    error: "Cannot use -m 3: wants a power of two of pages (4 KiB) from 1 to 262144",
  },
  { name: "-m 0", args: ["-e", TO_FILE, "-m", "0"], code: USAGE, error: "Cannot use -m 0" },
  {
    name: "-p zero",
    args: ["-e", TO_FILE, "-p", "zero"],
    code: USAGE,
    error: "Cannot use -p zero",
  },
  {
    name: "-p with -t",
    args: ["-e", TO_FILE, "-p", "1", "-t", "1"],
    code: USAGE,
    error: "Cannot use -p with -t",
  },
  {
    name: "-C that is no list",
    args: ["-e", TO_FILE, "-C", "0-x"],
    code: USAGE,
    error: 'Cannot parse CPU list "0-x": wants numbers and ranges, as 0-3,8',
  },
  pushRow("99999", 'Cannot push to "99999": port 99999, wants 1 to 65535', { hint: "push=PORT" }),
  pushRow("0", 'Cannot push to "0": port 0, wants 1 to 65535'),
  pushRow("127.0.0.1:70000", "port 70000, wants 1 to 65535"),
  pushRow("2024x", 'Cannot push to "2024x": no port, address or path'),
  pushRow("1.2.3.4", "no port, address or path"),
  pushRow("host.example:9900", "no port, address or path"),
  pushRow("unix:", "the path is empty"),
  pushRow("/dev/nope", 'Cannot push to "/dev/nope": no such device'),
  pushRow("/dev/virtio-ports/nope", 'Cannot push to "/dev/virtio-ports/nope": no such device'),
  pushRow("/tmp", 'Cannot push to "/tmp": it is a directory'),
  pushRow("file:/tmp", 'Cannot push to "/tmp": it is a directory'),
  pushRow("FOLDER/fifo", "it is a FIFO", {
    prepare: ({ path }) => {
      spawnSync("mkfifo", [`${path}/fifo`]);
    },
  }),
  // A node of a device that does not exist: nothing to destroy should the refusal ever fail.
  pushRow("FOLDER/disk", "it is a block device", {
    prepare: ({ path }) => {
      spawnSync("mknod", [`${path}/disk`, "b", "7", "250"]);
    },
  }),
];

const MACHINE_ROWS: readonly Row[] = [
  {
    name: "an unknown event",
    args: ["-e", "irq:irq_handler_entri//push=FOLDER/x/"],
    code: USAGE,
    error: 'Cannot find event "irq:irq_handler_entri": this kernel has no such tracepoint',
    hint: "did you mean irq:irq_handler_entry",
  },
  {
    name: "a wildcard that matches nothing",
    args: ["-e", "nosuch:*//push=FOLDER/x/"],
    code: USAGE,
    error: 'Cannot find event "nosuch:*"',
  },
  {
    name: "a refused filter",
    args: ["-e", `${EVENT}/nofield==1/push=FOLDER/x/`],
    code: USAGE,
    error: `Cannot set filter "nofield==1" of ${EVENT}: the kernel refuses it`,
    caret: "nofield==1",
  },
  {
    name: "a probe on no file",
    args: ["-e", 'uprobe:main@"/nosuch/file"//push=FOLDER/x/'],
    code: FAILED,
    error: 'Cannot read symbols of "/nosuch/file": ENOENT',
  },
  {
    name: "a probe on no function",
    args: ["-e", 'uprobe:no_such_function@"/bin/ls"//push=FOLDER/x/'],
    code: FAILED,
    error: 'Cannot find function "no_such_function" in "/bin/ls": no such symbol',
  },
  {
    name: "-C 8000",
    args: ["-e", TO_FILE, "-C", "8000"],
    code: USAGE,
    error: "Cannot sample CPU 8000: not online, wants some of 0",
  },
  {
    name: "-p of a process that has ended",
    args: ["-e", TO_FILE, "-p", "4194399"],
    code: FAILED,
    error: "Cannot sample process 4194399: ESRCH (no such process)",
  },
  {
    name: "-t of a thread that has ended",
    args: ["-e", TO_FILE, "-t", "4194399"],
    code: FAILED,
    error: "Cannot sample thread 4194399: ESRCH (no such process)",
  },
  pushRow("192.0.2.1:9900", "Cannot listen on 192.0.2.1:9900: EADDRNOTAVAIL", { code: FAILED }),
  pushRow("FOLDER/nosuch/x.vms", '/nosuch/x.vms": ENOENT (no such file or directory)', {
    code: FAILED,
  }),
  pushRow("/etc/passwd/x.vms", 'Cannot push to "/etc/passwd/x.vms": ENOTDIR'),
  pushRow(`unix:FOLDER/${"x".repeat(108)}`, "wants at most 107", { code: FAILED }),
  pushRow("unix:FOLDER/nosuch/s", "ENOENT", { code: FAILED }),
  pushRow("unix:FOLDER/plain", "EADDRINUSE", {
    code: FAILED,
    prepare: (workspace) => writeFileSync(workspace.file("plain"), ""),
  }),
  pushRow("/dev/full", 'Cannot write to file "/dev/full": ENOSPC (no space left on device)', {
    code: FAILED,
    hasLedger: true,
  }),
];

/** Runs a program in mounts of its own: nothing is left when it ends. */
function withMounts(script: string): readonly string[] {
  return ["unshare", "--mount", "--", "/bin/sh", "-c", `${script} && exec "$@"`, "sh"];
}

const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

const LEDGER_LINE =
  /^file ".*": produced \d+, lost by the kernel \d+, dropped \d+, |^ {2}CPU \d+: /;

async function checkRow(row: Row, options: StartOptions = {}): Promise<string[]> {
  const workspace = new Workspace();
  try {
    row.prepare?.(workspace);
    const args = row.args.map((arg) => arg.replaceAll("FOLDER", workspace.path));
    const { code, stdout, stderr } = await runAgent(workspace, "agent-guest", ["trace", ...args], {
      ...options,
      ...(row.wrapper === undefined ? {} : { wrapper: row.wrapper }),
    });
    const isLedger = (line: string): boolean => LEDGER_LINE.test(line);
    const said = stderr.split("\n").filter((line) => !/^(Pushing|Connected) /.test(line));
    expect(said.some(isLedger)).toBe(row.hasLedger === true);
    const lines = said.filter((line) => !isLedger(line));
    expect(lines[0]).toStartWith("agent-guest: ERROR: ");
    const { error, hint } = row;
    expect(lines[0]!.slice("agent-guest: ERROR: ".length)).toMatch(asPattern(error));
    expect(code).toBe(row.code);
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(/^\s+at /m);
    if (row.caret !== undefined) {
      expect(lines[1]!.slice(lines[2]!.indexOf("^"))).toBe(row.caret);
      expect(lines[2]).toMatch(/^ +\^$/);
    }
    const hints = lines.filter((line) => line.startsWith("HINT: "));
    if (hint !== undefined) expect(hints.join("\n")).toMatch(asPattern(hint));
    const shown = row.caret === undefined ? 0 : 2;
    expect(lines.length).toBe(1 + shown + hints.length + 1);
    return readdirSync(workspace.path);
  } finally {
    await workspace.dispose();
  }
}

function asPattern(text: string | RegExp): RegExp {
  if (text instanceof RegExp) return text;
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
}

describe("a wrong command line", () => {
  for (const row of USAGE_ROWS) {
    test(`trace with ${row.name} exits ${row.code}`, async () => {
      const left = await checkRow(row);
      // perf-prof opened a file named as what it had not understood.
      expect(left.filter((name) => !["fifo", "disk"].includes(name))).toEqual([]);
    });
  }
});

describe.skipIf(NO_TRACING !== "")("what the machine refuses", () => {
  for (const row of MACHINE_ROWS) {
    test(`trace with ${row.name} exits ${row.code}`, async () => {
      await checkRow(row);
    });
  }

  test("trace on a port in use says so, and writes no file instead", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const left = await checkRow(
      pushRow(`${port}`, `Cannot listen on 127.0.0.1:${port}: EADDRINUSE`, { code: FAILED }),
    );
    expect(left).toEqual([]);
    server.close();
  });

  test("trace on a unix socket that somebody serves leaves it to him", async () => {
    const workspace = new Workspace();
    const path = workspace.file("s");
    const listener = listenOn({ kind: "unix", path });
    await checkRow(pushRow(`unix:${path}`, "EADDRINUSE", { code: FAILED }));
    expect(readdirSync(workspace.path)).toEqual(["s"]);
    listener.close();
    await workspace.dispose();
  });

  test("trace on a port device that another program holds says so", async () => {
    // An exclusive terminal refuses as a virtio port does, but for who may administer the system.
    const TIOCEXCL = 0x540c;
    const pty = openPty();
    ioctl(pty.slave, TIOCEXCL, 0, "make a terminal exclusive");
    await checkRow(
      pushRow(pty.path, `Cannot open "${pty.path}": EBUSY`, {
        code: FAILED,
        hint: "a virtio port has one opener",
        wrapper: ["setpriv", "--bounding-set=-sys_admin", "--"],
      }),
    );
    pty.slave.close();
    pty.master.close();
  });

  test("trace to a file on a full disk ends with it, whatever it has written", async () => {
    const mount = "mkdir disk && mount -t tmpfs -o size=64k none disk";
    const row = pushRow("FOLDER/disk/x.vms", "ENOSPC (no space left on device)", { code: FAILED });
    // Every system call of the machine: 64 KiB are full at once.
    await checkRow({ ...row, hasLedger: true, wrapper: withMounts(mount) });
  });

  test("trace without tracefs says how to mount it", async () => {
    await checkRow({
      name: "no tracefs",
      args: ["-e", TO_FILE],
      code: FAILED,
      error: "Cannot find tracefs: nothing is mounted at /sys/kernel/tracing",
      hint: "mount -t tracefs nodev /sys/kernel/tracing",
      wrapper: withMounts("mount -t tmpfs none /sys/kernel"),
    });
  });

  test("trace by nobody is told to be root", async () => {
    await checkRow({
      name: "not root",
      args: ["-e", TO_FILE],
      code: FAILED,
      error: "Cannot read tracefs: permission denied, wants root or CAP_DAC_READ_SEARCH",
      hint: "run as root",
      prepare: ({ path }) => chmodSync(path, 0o777),
      wrapper: AS_NOBODY,
    });
  });

  test("trace by nobody into a folder of root's is told that first", async () => {
    const row = pushRow("FOLDER/x.vms", /^Cannot push to ".*\/x.vms": EACCES$/);
    await checkRow({ ...row, wrapper: AS_NOBODY });
  });

  test("trace by somebody who may read tracefs is told what perf wants", async () => {
    const fake = new Workspace();
    const event = "events/raw_syscalls/sys_enter";
    const folder = fake.file(event);
    mkdirSync(folder, { recursive: true });
    for (const name of ["id", "format"])
      cpSync(`${Tracefs.open().root}/${event}/${name}`, `${folder}/${name}`);
    spawnSync("chmod", ["-R", "a+rX", fake.path]);
    await checkRow({
      name: "perf_event_paranoid",
      args: ["-e", TO_FILE],
      code: FAILED,
      error: /^Cannot open event \S+ on CPU 0: (EACCES|EPERM) /,
      hint: "run as root or with CAP_PERFMON, or lower /proc/sys/kernel/perf_event_paranoid",
      prepare: ({ path }) => chmodSync(path, 0o777),
      wrapper: [...withMounts(`mount --bind ${fake.path} /sys/kernel/tracing`), ...AS_NOBODY],
    });
    await fake.dispose();
  });
});

describe("help", () => {
  async function run(...args: string[]): Promise<{ code: number | null; stdout: string }> {
    const workspace = new Workspace();
    const { code, stdout } = await runAgent(workspace, "agent-guest", args);
    await workspace.dispose();
    return { code, stdout };
  }

  test("--help and trace --help print to stdout and exit 0", async () => {
    const help = await run("--help");
    expect([help.code, help.stdout]).toEqual([0, expect.stringContaining("trace")]);
    const trace = await run("trace", "--help");
    expect(trace.code).toBe(0);
    for (const text of ["--event", "--mmap-pages", "push=unix:PATH", "org.qemu.perf0"]) {
      expect(trace.stdout).toContain(text);
    }
  });

  test("--version prints one line", async () => {
    const { code, stdout } = await run("--version");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^agent-guest \S+ \(bun\)\n$/);
  });
});
