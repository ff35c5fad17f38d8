/**
 * A cpio archive in the "newc" format, the one that the kernel unpacks as an initramfs.
 *
 * Written here instead of calling cpio(1) because device nodes then need no mknod, owners need no
 * fakeroot, and the same input gives the same bytes: inode numbers count up, times are zero.
 *
 *   "070701" + 13 fields of 8 hex digits, name, NUL, padding to 4, data, padding to 4
 *
 * Must match Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
 */

/** File type bits of st_mode, from <linux/stat.h>. */
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

const HEADER_BYTES = 110;
const TRAILER_NAME = "TRAILER!!!";

export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode?: number }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly data: Uint8Array;
      readonly mode?: number;
    }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly kind: "character";
      readonly path: string;
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

interface RawEntry {
  readonly name: Uint8Array;
  readonly mode: number;
  readonly data: Uint8Array;
  readonly major: number;
  readonly minor: number;
}

const NO_DATA = new Uint8Array(0);

function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

function rawEntry(entry: CpioEntry): RawEntry {
  const name = new TextEncoder().encode(`${entry.path}\0`);
  const base = { name, data: NO_DATA, major: 0, minor: 0 };
  switch (entry.kind) {
    case "directory":
      return { ...base, mode: S_IFDIR | (entry.mode ?? 0o755) };
    case "file":
      return { ...base, mode: S_IFREG | (entry.mode ?? 0o644), data: entry.data };
    case "symlink":
      return { ...base, mode: S_IFLNK | 0o777, data: new TextEncoder().encode(entry.target) };
    case "character":
      return {
        ...base,
        mode: S_IFCHR | (entry.mode ?? 0o600),
        major: entry.major,
        minor: entry.minor,
      };
  }
}

function header(entry: RawEntry, inode: number): Uint8Array {
  const links = (entry.mode & S_IFDIR) === S_IFDIR ? 2 : 1;
  const fields = [
    inode,
    entry.mode,
    0, // uid
    0, // gid
    links,
    0, // mtime
    entry.data.length,
    0, // device major
    0, // device minor
    entry.major,
    entry.minor,
    entry.name.length,
    0, // checksum, zero in newc
  ];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return new TextEncoder().encode(text);
}

/**
 * The archive of `entries`, in their order. A parent directory has to come before what lies in it:
 * the kernel creates no missing parents. Paths are relative, without a leading slash.
 * @throws RangeError when a path is absolute or empty
 */
export function packCpio(entries: readonly CpioEntry[]): Uint8Array {
  const raws = entries.map((entry) => {
    if (entry.path === "" || entry.path.startsWith("/")) {
      throw new RangeError(`Cannot pack "${entry.path}": not a relative path`);
    }
    return rawEntry(entry);
  });
  raws.push({ ...rawEntry({ kind: "file", path: TRAILER_NAME, data: NO_DATA }), mode: 0 });
  const totalBytes = raws.reduce(
    (sum, raw) => sum + padded(HEADER_BYTES + raw.name.length) + padded(raw.data.length),
    0,
  );
  const archive = new Uint8Array(totalBytes);
  let offset = 0;
  for (const [index, raw] of raws.entries()) {
    archive.set(header(raw, index + 1), offset);
    archive.set(raw.name, offset + HEADER_BYTES);
    offset += padded(HEADER_BYTES + raw.name.length);
    archive.set(raw.data, offset);
    offset += padded(raw.data.length);
  }
  return archive;
}
