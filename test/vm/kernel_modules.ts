/**
 * Which module files a guest has to load for virtio-serial, and in what order.
 *
 * The order comes out of the modules themselves: each .ko names what it needs in its .modinfo
 * section, a run of NUL-terminated "key=value" strings:
 *
 *   license=GPL\0depends=virtio_ring,virtio\0retpoline=Y\0name=virtio_console\0
 *
 * So it works on a kernel package that was only unpacked, where no depmod wrote modules.dep.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

/** What a guest with virtio-serial on PCI needs; the rest follows from their dependencies. */
export const VIRTIO_SERIAL_MODULES = ["virtio_pci", "virtio_console"] as const;

const MODULES_MAX = 64;
const MODULE_BYTES_MAX = 64 * 1024 * 1024;

/** How distributions pack modules, and the program that unpacks each to standard output. */
const DECOMPRESSORS: Readonly<Record<string, string>> = {
  ".xz": "xz",
  ".gz": "gzip",
  ".zst": "zstd",
};

export interface KernelModule {
  /** Name as modprobe knows it, underscores, no suffix. */
  readonly name: string;
  /** The ELF file, decompressed. */
  readonly data: Uint8Array;
}

function moduleName(fileName: string): string {
  return fileName.replace(/\.ko(\.xz|\.gz|\.zst)?$/, "").replaceAll("-", "_");
}

/** Every module file below `modulesPath` (/lib/modules/RELEASE), by name. */
function indexModules(modulesPath: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const entry of readdirSync(join(modulesPath, "kernel"), {
    recursive: true,
    encoding: "utf8",
  })) {
    if (/\.ko(\.xz|\.gz|\.zst)?$/.test(entry)) {
      files.set(moduleName(basename(entry)), join(modulesPath, "kernel", entry));
    }
  }
  return files;
}

function builtinModules(modulesPath: string): Set<string> {
  const file = join(modulesPath, "modules.builtin");
  if (!existsSync(file)) {
    return new Set();
  }
  const lines = readFileSync(file, "utf8").split("\n");
  return new Set(lines.filter((line) => line !== "").map((line) => moduleName(basename(line))));
}

function readModule(file: string): Uint8Array {
  const suffix = /\.(xz|gz|zst)$/.exec(file)?.[0];
  if (suffix === undefined) {
    return readFileSync(file);
  }
  const program = DECOMPRESSORS[suffix]!;
  return execFileSync(program, ["--decompress", "--stdout", file], { maxBuffer: MODULE_BYTES_MAX });
}

/**
 * Names that a module's .modinfo lists after "depends=".
 * @throws SyntaxError when the bytes hold no such entry
 */
export function moduleDepends(data: Uint8Array): string[] {
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const key = "\0depends=";
  const at = text.indexOf(key, 0, "latin1");
  const end = at < 0 ? -1 : text.indexOf(0, at + key.length);
  if (end < 0) {
    throw new SyntaxError('Cannot read module dependencies: no "depends=" in .modinfo');
  }
  const list = text.toString("latin1", at + key.length, end);
  return list === "" ? [] : list.split(",").map((name) => name.replaceAll("-", "_"));
}

/**
 * `names` and all they depend on, each after its dependencies, leaving out what is built in.
 * @throws ReferenceError when a module is neither a file nor built in
 */
export function collectModules(modulesPath: string, names: readonly string[]): KernelModule[] {
  const files = indexModules(modulesPath);
  const builtin = builtinModules(modulesPath);
  const done = new Map<string, KernelModule>();
  const visit = (name: string, depth: number): void => {
    if (done.has(name) || builtin.has(name)) {
      return;
    }
    const file = files.get(name);
    if (file === undefined || depth > MODULES_MAX) {
      throw new ReferenceError(`Cannot find kernel module "${name}" below "${modulesPath}"`);
    }
    const data = readModule(file);
    for (const dependency of moduleDepends(data)) {
      visit(dependency, depth + 1);
    }
    done.set(name, { name, data });
  };
  for (const name of names) {
    visit(name, 0);
  }
  return [...done.values()];
}
