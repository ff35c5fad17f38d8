/**
 * The kernel as QEMU starts it without unpacking: the ELF file within a bzImage. Under emulation
 * the guest's own unpacking takes 4 of the 10 seconds until it takes commands.
 *
 *   0x1f1  sectors of set-up code, which come after the first
 *   0x202  "HdrS"
 *   0x248  offset of the packed kernel, from the end of the set-up code
 *   0x24c  its length; its last four bytes are the length of what is in it
 *
 * Source: Documentation/arch/x86/boot.rst of Linux. QEMU enters an ELF kernel as PVH does, for
 * which the kernel has a note: owner "Xen", type 18.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "../apt.ts";

const SECTOR_BYTES = 512;
const LENGTH_BYTES = 4;
/** Debian 12 packs its kernels so. */
const XZ_MAGIC = Buffer.from("fd377a585a00", "hex");
const PVH_NOTE = Buffer.from("1200000058656e00", "hex");
/** An unpacked kernel has some 65 MB. */
const KERNEL_BYTES_MAX = 256 * 1024 * 1024;

/** The packed kernel within a bzImage; undefined when it is none. */
export function packedKernel(image: Uint8Array): Uint8Array | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (image.length < SECTOR_BYTES * 2 || view.getUint32(0x202) !== 0x48647253) return undefined;
  const setupBytes = (1 + (image[0x1f1] || 4)) * SECTOR_BYTES;
  const from = setupBytes + view.getUint32(0x248, true);
  const to = from + view.getUint32(0x24c, true) - LENGTH_BYTES;
  return from < to && to <= image.length ? image.subarray(from, to) : undefined;
}

/** Path of the unpacked kernel in `cachePath`, or of the bzImage where it cannot be had. */
export function unpackKernel(imagePath: string, cachePath: string): string {
  const path = join(cachePath, `${imagePath.split("/").at(-1)}.elf`);
  if (existsSync(path)) return path;
  const xz = findProgram("xz");
  const packed = packedKernel(readFileSync(imagePath));
  if (xz === undefined || packed === undefined) return imagePath;
  if (XZ_MAGIC.compare(packed, 0, XZ_MAGIC.length) !== 0) return imagePath;
  const options = { input: packed, maxBuffer: KERNEL_BYTES_MAX } as const;
  const kernel = execFileSync(xz, ["-dc"], options);
  if (!kernel.includes(PVH_NOTE)) return imagePath;
  mkdirSync(cachePath, { recursive: true });
  writeFileSync(`${path}.${process.pid}`, kernel);
  renameSync(`${path}.${process.pid}`, path);
  return path;
}
