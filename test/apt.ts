/**
 * Debian packages that tests need, fetched with apt-get when they are missing:
 *
 *   const problem = packagesProblem([PERF, GCC]);   // "" when all are there now
 *   test.skipIf(problem !== "")(...)
 *
 * What is installed already is used as it is. VMSPAN_NO_INSTALL=1 forbids installing. One apt runs
 * at a time, whichever test process starts it.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

const APT_TIMEOUT_MS = 300_000;
/** Test processes run side by side, and apt-get gives up where another one holds its lists. */
const APT_LOCK = "/run/lock/vmspan-apt.lock";

/** Something is missing and could not, or must not, be fetched. */
export class PrerequisiteError extends Error {
  override readonly name = "PrerequisiteError";
}

/** A package, and what shows that it is there: a program, or one of several files. */
export interface DebianPackage {
  readonly name: string;
  readonly program?: string;
  readonly files?: readonly string[];
}

export const PERF: DebianPackage = { name: "linux-perf", program: "perf" };
export const TRACE_CMD: DebianPackage = { name: "trace-cmd", program: "trace-cmd" };
export const GCC: DebianPackage = { name: "gcc", program: "gcc" };
/** Headers of the C library and, with them, those of the kernel's interface. */
export const LIBC_DEV: DebianPackage = { name: "libc6-dev", files: ["/usr/include/stdio.h"] };
export const LIBTRACEEVENT: DebianPackage = {
  name: "libtraceevent1",
  files: ["/usr/lib/x86_64-linux-gnu/libtraceevent.so.1", "/usr/lib64/libtraceevent.so.1"],
};
export const LIBTRACEEVENT_PLUGIN: DebianPackage = {
  name: "libtraceevent1-plugin",
  files: ["/usr/lib/x86_64-linux-gnu/traceevent/plugins/plugin_scsi.so"],
};
export const IPROUTE: DebianPackage = { name: "iproute2", program: "ip" };
export const E2FSPROGS: DebianPackage = { name: "e2fsprogs", program: "mkfs.ext4" };
export const XFSPROGS: DebianPackage = { name: "xfsprogs", program: "mkfs.xfs" };
export const BTRFS_PROGS: DebianPackage = { name: "btrfs-progs", program: "mkfs.btrfs" };
/** What the tests of plain code use. */
export const TEST_PACKAGES: readonly DebianPackage[] = [
  PERF,
  TRACE_CMD,
  GCC,
  LIBC_DEV,
  LIBTRACEEVENT,
  LIBTRACEEVENT_PLUGIN,
  IPROUTE,
  E2FSPROGS,
  XFSPROGS,
  BTRFS_PROGS,
];

export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function isInstalled({ program, files }: DebianPackage): boolean {
  if (program !== undefined) return findProgram(program) !== undefined;
  return files?.some((file) => existsSync(file)) === true;
}

/** Makes sure that packages are there; why that is not possible, or "". */
export function packagesProblem(packages: readonly DebianPackage[]): string {
  const missing = packages.filter((entry) => !isInstalled(entry)).map(({ name }) => name);
  if (missing.length === 0) return "";
  const wanted = `wanted: apt-get install --no-install-recommends ${missing.join(" ")}`;
  const refused = aptRefusal(true);
  if (refused !== undefined) return `no ${missing.join(", no ")} here, and ${refused}, ${wanted}`;
  try {
    installPackages(missing, (line) => console.log(line));
    return "";
  } catch (error) {
    if (!(error instanceof PrerequisiteError)) throw error;
    return `${error.message}, ${wanted}`;
  }
}

/** Why nothing may be fetched here, if so. */
export function aptRefusal(wantsRoot: boolean): string | undefined {
  if (process.env.VMSPAN_NO_INSTALL === "1") return "VMSPAN_NO_INSTALL=1 forbids fetching them";
  if (findProgram("apt-get") === undefined) return "this machine has no apt-get";
  return wantsRoot && process.getuid?.() !== 0 ? "installing needs root" : undefined;
}

/** @throws PrerequisiteError with apt's own last words */
export function installPackages(
  names: readonly string[],
  progress: (line: string) => void = () => {},
): void {
  progress(`apt-get install --no-install-recommends ${names.join(" ")}`);
  aptWithFreshLists(() => {
    apt("apt-get", ["install", "--yes", "--quiet", "--no-install-recommends", ...names]);
  }, progress);
}

/** Runs apt-get or apt-cache, and throws its own last words when it fails. */
export function apt(program: string, args: readonly string[], cwd?: string): string {
  const isLocked = process.getuid?.() === 0;
  const command = isLocked ? ["flock", APT_LOCK, program, ...args] : [program, ...args];
  const result = spawnSync(command[0]!, command.slice(1), {
    cwd,
    encoding: "utf8",
    timeout: APT_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (result.status !== 0) {
    const words = `${result.stderr ?? ""}`.trim().split("\n").slice(-3).join("; ");
    throw new PrerequisiteError(
      `Cannot run "${[program, ...args].join(" ")}": ${result.error?.message ?? words}`,
    );
  }
  return result.stdout;
}

/** A fresh image has no package lists, and old lists name files that the mirror has dropped. */
export function aptWithFreshLists(action: () => void, progress: (line: string) => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof PrerequisiteError) || process.getuid?.() !== 0) {
      throw error;
    }
    progress("apt-get update");
    // One unreachable third-party source must not matter: the second try decides.
    spawnSync("flock", [APT_LOCK, "apt-get", "update", "--quiet"], {
      stdio: "ignore",
      timeout: APT_TIMEOUT_MS,
    });
    action();
  }
}
