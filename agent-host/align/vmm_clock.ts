/**
 * What is known beforehand about a guest's TSC from the program that runs the guest.
 *
 * QEMU without KVM (-accel tcg) answers the guest's rdtsc with the host's TSC plus an offset,
 * unless -icount makes time virtual. It changes the offset when the guest is stopped or writes its
 * TSC, and by some hundred cycles now and then (emulator_relation.ts). So the rates are equal, and
 * round trips have to find the offset alone. Such a QEMU is told by its command line and by having
 * no descriptor of KVM.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { unlessGone } from "../../shared/sys/procfs.ts";
import { parseQemuCommandLine } from "./vm_lookup.ts";

/** Descriptors of a process looked at, most. */
const FDS_MAX = 65536;

/**
 * Whether a command line (/proc/PID/cmdline) is an emulating QEMU's whose TSC ticks as the host's.
 */
export function isPlainEmulator(cmdline: string, fdLinks: readonly string[]): boolean {
  if (parseQemuCommandLine(cmdline) === undefined) return false;
  const words = cmdline.split("\0");
  if (words.includes("-icount") || words.includes("--icount")) return false;
  return !fdLinks.some((link) => link === "/dev/kvm" || link.startsWith("anon_inode:kvm"));
}

function linksOf(folder: string): string[] {
  return readdirSync(folder)
    .slice(0, FDS_MAX)
    .map((fd) => {
      try {
        return readlinkSync(`${folder}/${fd}`);
      } catch (error) {
        // Closed since it was listed.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
        throw error;
      }
    });
}

/**
 * Whether process `pid` emulates its guest's TSC at the host's rate; false when it cannot be told.
 */
export function emulatesAtHostRate(pid: number, procfs = "/proc"): boolean {
  return unlessGone(() => {
    const cmdline = readFileSync(`${procfs}/${pid}/cmdline`, "utf8");
    return isPlainEmulator(cmdline, linksOf(`${procfs}/${pid}/fd`));
  }, false);
}
