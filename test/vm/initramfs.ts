/**
 * The initramfs of a test guest: busybox, the modules for virtio-serial, programs under test with
 * the libraries they need, and the /init of agent-guest/packaging/initramfs, thereby tested too.
 *
 * Not compressed: the kernel unpacks it with a copy, and under emulation that is what counts. Kept
 * in build/ under a hash of its content, so that the same input is written once.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type CpioEntry, packCpio } from "./cpio.ts";
import { collectModules, VIRTIO_SERIAL_MODULES } from "./kernel_modules.ts";
import { BUILD_PATH, type Prerequisites } from "./prerequisites.ts";

const PACKAGING_PATH = resolve(import.meta.dirname, "../../agent-guest/packaging/initramfs");
const START_SCRIPT_PATH = resolve(import.meta.dirname, "guest_start.sh");

/** Each is more than 100 MB with a compiled agent in it; older ones are removed. */
const CACHED_ARCHIVES_MAX = 3;

export interface InitramfsOptions {
  /** Programs to put into /bin under their own names; shared libraries come along. */
  readonly programs: readonly string[];
  /** Further files, by absolute path in the guest. */
  readonly files?: Readonly<Record<string, Uint8Array | string>>;
  /** Where archives are kept. */
  readonly cachePath?: string;
}

/**
 * Files that the dynamic linker opens for `program`, the linker included, by absolute path; empty
 * for a static program. The output of ldd has two shapes of interest:
 *
 *   libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)
 *   /lib64/ld-linux-x86-64.so.2 (0x00007f...)
 */
export function parseLdd(output: string): string[] {
  const files: string[] = [];
  for (const line of output.split("\n")) {
    const file = /^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (file !== undefined) {
      files.push(file);
    } else if (line.includes("not found")) {
      throw new ReferenceError(`Cannot find a shared library: ${line.trim()}`);
    }
  }
  return files;
}

function sharedLibraries(program: string): string[] {
  try {
    return parseLdd(execFileSync("ldd", [program], { encoding: "utf8", stdio: "pipe" }));
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    const output = `${stdout}${stderr}`;
    if (output.includes("not a dynamic executable") || output.includes("statically linked")) {
      return [];
    }
    throw error;
  }
}

/** Collects entries and adds the parents of each, since the kernel creates none. */
class Tree {
  readonly #entries = new Map<string, CpioEntry>();

  directory(path: string): void {
    if (path === "." || path === "" || this.#entries.has(path)) {
      return;
    }
    this.directory(dirname(path));
    this.#entries.set(path, { kind: "directory", path });
  }

  file(path: string, data: Uint8Array, mode = 0o644): void {
    const relative = path.replace(/^\/+/, "");
    this.directory(dirname(relative));
    this.#entries.set(relative, { kind: "file", path: relative, data, mode });
  }

  entry(entry: CpioEntry): void {
    this.directory(dirname(entry.path));
    this.#entries.set(entry.path, entry);
  }

  /** Parents come first because they were inserted first. */
  pack(): Uint8Array {
    return packCpio([...this.#entries.values()]);
  }
}

function assemble(prerequisites: Prerequisites, options: InitramfsOptions): Uint8Array {
  const tree = new Tree();
  // The kernel opens /dev/console for /init before devtmpfs is mounted.
  tree.entry({ kind: "character", path: "dev/console", major: 5, minor: 1 });
  for (const directory of ["proc", "sys", "run", "tmp"]) {
    tree.directory(directory);
  }
  tree.file("init", readFileSync(join(PACKAGING_PATH, "init")), 0o755);
  tree.file("bin/link-ports", readFileSync(join(PACKAGING_PATH, "link-ports")), 0o755);
  tree.file("bin/busybox", readFileSync(prerequisites.busyboxPath), 0o755);
  tree.entry({ kind: "symlink", path: "bin/sh", target: "busybox" });
  tree.file("etc/vmspan/start", readFileSync(START_SCRIPT_PATH), 0o755);
  const modules = collectModules(prerequisites.kernel.modulesPath, VIRTIO_SERIAL_MODULES);
  tree.file("etc/modules", Buffer.from(modules.map(({ name }) => `${name}\n`).join("")));
  for (const { name, data } of modules) {
    tree.file(`lib/modules/${name}.ko`, data);
  }
  for (const program of options.programs) {
    tree.file(join("bin", program.split("/").at(-1)!), readFileSync(program), 0o755);
    for (const library of sharedLibraries(program)) {
      tree.file(library, readFileSync(realpathSync(library)), 0o755);
    }
  }
  for (const [path, content] of Object.entries(options.files ?? {})) {
    tree.file(path, typeof content === "string" ? Buffer.from(content) : content, 0o755);
  }
  return tree.pack();
}

function pruneCache(cachePath: string, keep: string): void {
  const archives = readdirSync(cachePath)
    .filter((name) => /^initramfs-[0-9a-f]+\.cpio$/.test(name) && name !== keep)
    .map((name) => ({ name, usedMs: statSync(join(cachePath, name)).mtimeMs }))
    .sort((left, right) => right.usedMs - left.usedMs);
  for (const { name } of archives.slice(CACHED_ARCHIVES_MAX - 1)) {
    rmSync(join(cachePath, name), { force: true });
  }
}

/** The path of an archive with the given content; the same content gives the same file. */
export function buildInitramfs(prerequisites: Prerequisites, options: InitramfsOptions): string {
  const cachePath = options.cachePath ?? join(BUILD_PATH, "initramfs");
  const archive = assemble(prerequisites, options);
  const hash = createHash("sha256").update(archive).digest("hex").slice(0, 24);
  const name = `initramfs-${hash}.cpio`;
  const path = join(cachePath, name);
  mkdirSync(cachePath, { recursive: true });
  if (existsSync(path)) {
    const now = new Date();
    utimesSync(path, now, now);
  } else {
    const scratchPath = `${path}.${process.pid}`;
    writeFileSync(scratchPath, archive);
    renameSync(scratchPath, path);
  }
  pruneCache(cachePath, name);
  return path;
}
