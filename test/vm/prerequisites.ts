/**
 * What a real guest needs from Debian, found on this machine or fetched.
 *
 *   qemu-system-x86   installed with apt-get, when missing: it runs from where it lies
 *   linux-image-amd64 only vmlinuz and a few modules, so the package is downloaded and unpacked
 *                     into build/cache/: no initramfs is generated, no boot loader touched. 70 MB
 *                     to fetch and 10 MB kept, against 400 MB installed
 *   busybox-static    likewise: installing it would remove the busybox that initramfs-tools uses
 *
 * What is installed already is used as it is. VMSPAN_NO_INSTALL=1 forbids both ways.
 */

import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join, resolve } from "node:path";
import {
  apt,
  aptRefusal,
  aptWithFreshLists,
  findProgram,
  installPackages,
  PrerequisiteError,
} from "../apt.ts";

export { findProgram, PrerequisiteError } from "../apt.ts";

const PROJECT_ROOT = resolve(import.meta.dirname, "../..");
/** Everything that tests make and may be deleted at any time. */
export const BUILD_PATH = join(PROJECT_ROOT, "build");

const KERNEL_METAPACKAGE = "linux-image-amd64";
const BUSYBOX_PACKAGE = "busybox-static";
const QEMU_PACKAGE = "qemu-system-x86";
const QEMU_PROGRAM = "qemu-system-x86_64";
const ELF_PT_INTERP = 3;

/** What is kept of linux-image packages; "*" first, as Debian 13 moved /lib to /usr/lib. */
const KERNEL_PATTERNS = [
  "*/boot/vmlinuz-*",
  "*/lib/modules/*/modules.builtin",
  "*/lib/modules/*/kernel/drivers/virtio/*",
  "*/lib/modules/*/kernel/drivers/char/virtio_console.*",
];

export interface GuestKernel {
  /** As uname -r prints it: "6.1.0-56-amd64". */
  readonly release: string;
  /** The bzImage. */
  readonly imagePath: string;
  /** What would be /lib/modules/RELEASE; may hold no modules.dep. */
  readonly modulesPath: string;
}

export interface Prerequisites {
  readonly qemuPath: string;
  /** A statically linked busybox. */
  readonly busyboxPath: string;
  readonly kernel: GuestKernel;
}

export interface PrerequisiteOptions {
  /** Where unpacked packages are kept. */
  readonly cachePath?: string;
  /** Ignore what is installed, to prove the way of a bare machine. QEMU excepted. */
  readonly ignoreInstalled?: boolean;
  /** Told what takes time, one line each. */
  readonly progress?: (line: string) => void;
}

/** Whether an x86_64 ELF file asks for no dynamic linker. */
export function isStaticElf(data: Uint8Array): boolean {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 64 || view.getUint32(0) !== 0x7f454c46) {
    return false;
  }
  const headersOffset = Number(view.getBigUint64(32, true));
  const headerBytes = view.getUint16(54, true);
  const headers = view.getUint16(56, true);
  for (let index = 0; index < headers; index++) {
    const offset = headersOffset + index * headerBytes;
    if (offset + 4 > data.length) {
      return false;
    }
    if (view.getUint32(offset, true) === ELF_PT_INTERP) {
      return false;
    }
  }
  return true;
}

/** Debian's kernels below `root` ("/" or an unpacked package), newest first. */
function findKernels(root: string): GuestKernel[] {
  const bootPath = join(root, "boot");
  if (!existsSync(bootPath)) {
    return [];
  }
  const byVersion = new Intl.Collator("en", { numeric: true });
  return readdirSync(bootPath)
    .filter((name) => /^vmlinuz-.*\d-amd64$/.test(name))
    .map((name) => name.slice("vmlinuz-".length))
    .sort((left, right) => byVersion.compare(right, left))
    .flatMap((release) => {
      const modulesPath = ["lib/modules", "usr/lib/modules"]
        .map((folder) => join(root, folder, release))
        .find((path) => existsSync(join(path, "kernel/drivers/virtio")));
      const imagePath = join(bootPath, `vmlinuz-${release}`);
      return modulesPath === undefined ? [] : [{ release, imagePath, modulesPath }];
    });
}

function findBusybox(): string | undefined {
  const path = findProgram("busybox");
  return path !== undefined && isStaticElf(readFileSync(path)) ? path : undefined;
}

/** What the metapackage stands for: linux-image-6.1.0-56-amd64, say. */
function resolveKernelPackage(): string {
  const name = /^\s*Depends:\s*(linux-image-\S+)/m.exec(
    apt("apt-cache", ["depends", KERNEL_METAPACKAGE]),
  )?.[1];
  if (name === undefined) {
    throw new PrerequisiteError(
      `Cannot find Debian's kernel: "${KERNEL_METAPACKAGE}" depends on no linux-image package`,
    );
  }
  return name;
}

/** Downloads a package, unpacks `patterns` of it; `targetPath` appears only when complete. */
function unpackPackage(name: string, patterns: readonly string[], targetPath: string): void {
  mkdirSync(join(targetPath, ".."), { recursive: true });
  const scratchPath = mkdtempSync(`${targetPath}.`);
  try {
    apt("apt-get", ["download", "--quiet", name], scratchPath);
    const archive = readdirSync(scratchPath).find((file) => file.endsWith(".deb"));
    if (archive === undefined) {
      throw new PrerequisiteError(`Cannot unpack "${name}": apt-get download left no .deb file`);
    }
    const rootPath = join(scratchPath, "root");
    mkdirSync(rootPath);
    execFileSync(
      "sh",
      [
        "-ec",
        'archive="$1"; root="$2"; shift 2; dpkg-deb --fsys-tarfile "$archive" |' +
          ' tar --extract --directory="$root" --wildcards "$@"',
        "sh",
        join(scratchPath, archive),
        rootPath,
        ...patterns,
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    rmSync(targetPath, { recursive: true, force: true });
    renameSync(rootPath, targetPath);
  } finally {
    rmSync(scratchPath, { recursive: true, force: true });
  }
}

function fetchKernel(cachePath: string, progress: (line: string) => void): GuestKernel {
  const targetPath = join(cachePath, KERNEL_METAPACKAGE);
  if (findKernels(targetPath).length === 0) {
    progress(`downloading ${KERNEL_METAPACKAGE} (70 MB) into ${cachePath}`);
    aptWithFreshLists(
      () => unpackPackage(resolveKernelPackage(), KERNEL_PATTERNS, targetPath),
      progress,
    );
  }
  const kernel = findKernels(targetPath)[0];
  if (kernel === undefined) {
    throw new PrerequisiteError(
      `Cannot use Debian's kernel in "${targetPath}": no vmlinuz with virtio modules in it`,
    );
  }
  return kernel;
}

function fetchBusybox(cachePath: string, progress: (line: string) => void): string {
  const targetPath = join(cachePath, BUSYBOX_PACKAGE);
  const find = (): string | undefined =>
    ["bin/busybox", "usr/bin/busybox"].map((path) => join(targetPath, path)).find(existsSync);
  if (find() === undefined) {
    progress(`downloading ${BUSYBOX_PACKAGE} into ${cachePath}`);
    aptWithFreshLists(
      () => unpackPackage(BUSYBOX_PACKAGE, ["*/bin/busybox"], targetPath),
      progress,
    );
  }
  const path = find();
  if (path === undefined) {
    throw new PrerequisiteError(`Cannot find busybox in "${targetPath}"`);
  }
  return path;
}

function installQemu(progress: (line: string) => void): string {
  installPackages([QEMU_PACKAGE], progress);
  const path = findProgram(QEMU_PROGRAM);
  if (path === undefined) {
    throw new PrerequisiteError(`Cannot find "${QEMU_PROGRAM}" after installing ${QEMU_PACKAGE}`);
  }
  return path;
}

/**
 * Finds QEMU, a kernel and a busybox, fetching what is missing.
 * @throws PrerequisiteError that names every missing package, and how to install it by hand
 */
export function ensurePrerequisites(options: PrerequisiteOptions = {}): Prerequisites {
  const cachePath = options.cachePath ?? join(BUILD_PATH, "cache");
  const progress = options.progress ?? (() => {});
  const installed = options.ignoreInstalled !== true;
  const qemu = findProgram(QEMU_PROGRAM);
  const kernel =
    (installed ? findKernels("/")[0] : undefined) ??
    findKernels(join(cachePath, KERNEL_METAPACKAGE))[0];
  const busybox = installed ? findBusybox() : undefined;
  const cachedBusybox = existsSync(join(cachePath, BUSYBOX_PACKAGE));
  const missing = [
    ...(qemu === undefined ? [QEMU_PACKAGE] : []),
    ...(kernel === undefined ? [KERNEL_METAPACKAGE] : []),
    ...(busybox === undefined && !cachedBusybox ? [BUSYBOX_PACKAGE] : []),
  ];
  const refused = missing.length === 0 ? undefined : aptRefusal(missing.includes(QEMU_PACKAGE));
  if (refused !== undefined) {
    throw new PrerequisiteError(
      `Cannot boot a guest: no ${missing.join(", no ")} here, and ${refused}, ` +
        `wanted: apt-get install --no-install-recommends ${missing.join(" ")}`,
    );
  }
  return {
    qemuPath: qemu ?? installQemu(progress),
    kernel: kernel ?? fetchKernel(cachePath, progress),
    busyboxPath: busybox ?? fetchBusybox(cachePath, progress),
  };
}
