/**
 * execve(2) of the running program: the same process and descriptors, all threads but the calling
 * one gone, and memory begun anew. How a process gives up privileges with all its threads.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { SYS } from "./abi.ts";
import { checked, SysError } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { Mapping } from "./mapping.ts";
import { cString, syscall } from "./syscall.ts";

const POINTER_BYTES = 8;
const SELF = "/proc/self/exe";
const F_SETFD = 2;
const AT_SECURE = 23n;

/** A value of the auxiliary vector that the kernel gave this process, 0n when it has none. */
export function auxiliaryValue(key: bigint): bigint {
  const bytes = readFileSync("/proc/self/auxv");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 2 * POINTER_BYTES <= view.byteLength; at += 2 * POINTER_BYTES) {
    if (view.getBigUint64(at, true) === key) return view.getBigUint64(at + POINTER_BYTES, true);
  }
  return 0n;
}

/** Whether executing this file gave more privileges than the caller has: setuid, setcap. */
export function isSecureExecution(): boolean {
  try {
    return auxiliaryValue(AT_SECURE) !== 0n;
  } catch (error) {
    // The kernel hides such a process from its user, also from itself where that is not root.
    if ((error as NodeJS.ErrnoException).code === "EACCES") return true;
    throw error;
  }
}

/** Lets `fd` stay open across execve(). Throws SysError. */
export function keepOpen(fd: Fd): void {
  checked(syscall(SYS.fcntl, fd.number, F_SETFD, 0, 0, 0, 0), `keep ${fd.what} open`);
}

/**
 * The path to execute: that of the file, so that the process keeps its name, unless the file has
 * been replaced or its path is out of sight: the link itself always leads to it.
 */
function executablePath(): string {
  const target = readlinkSync(SELF);
  return target.endsWith(" (deleted)") || !target.startsWith("/") ? SELF : target;
}

/** The words of a command line or an environment as /proc shows them: each ends with NUL. */
export function splitWords(text: string): string[] {
  return text.split("\0").slice(0, -1);
}

/**
 * Runs this program again, with the arguments that it was given and `environment` ("NAME=value"),
 * in place of itself. Returns only by throwing SysError.
 */
export function executeSelf(environment: readonly string[]): never {
  const args = splitWords(readFileSync("/proc/self/cmdline", "utf8")).map(cString);
  const variables = environment.map(cString);
  const paths = [cString(executablePath()), cString(SELF)];
  const words = [...args, ...variables, ...paths];
  const textBytes = words.reduce((sum, word) => sum + word.length, 0);
  const pointers = args.length + variables.length + 2;
  // All in one mapping: nothing of it may move between here and the kernel's reading it.
  const memory = Mapping.anonymous(pointers * POINTER_BYTES + textBytes);
  const table = new BigUint64Array(memory.buffer, 0, pointers);
  const bytes = new Uint8Array(memory.buffer);
  let at = pointers * POINTER_BYTES;
  const place = (word: Uint8Array): number => {
    bytes.set(word, at);
    at += word.length;
    return memory.address + at - word.length;
  };
  args.forEach((word, i) => {
    table[i] = BigInt(place(word));
  });
  variables.forEach((word, i) => {
    table[args.length + 1 + i] = BigInt(place(word));
  });
  const environmentAt = memory.address + (args.length + 1) * POINTER_BYTES;
  let result = 0;
  for (const path of paths) {
    result = syscall(SYS.execve, place(path), memory.address, environmentAt, 0, 0, 0);
  }
  memory.close();
  throw new SysError("start again with fewer privileges", -result, "--keep-privileges");
}
