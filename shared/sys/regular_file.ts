/**
 * Files that may be anybody's, under names that anybody may have given to something else: what is
 * no regular file is never opened. A FIFO would keep us waiting, a device might do something.
 *
 *   open(PATH, O_PATH)             what the name leads to, and nothing happens to it
 *   fstat                          regular?
 *   open(/proc/self/fd/N)          the same file, whatever the name leads to by now
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { O_CLOEXEC, O_PATH, O_RDONLY, S_IFREG, SYS } from "./abi.ts";
import { checked } from "./errno.ts";
import { Fd, openFile, readInto, statusOf } from "./fd.ts";
import { type Address, addressOf, cString, syscall } from "./syscall.ts";

const READ_BYTES_MIN = 64 * 1024;
/** Sticky, and open to everybody. */
const SHARED_FOLDER_MODE = 0o1002;

/**
 * Opens for reading; with O_NOFOLLOW in `flags` a symbolic link is no file. Throws SysError, and
 * RangeError for what is no regular file.
 */
export function openRegular(path: string, flags = 0): Fd {
  using place = openFile(path, O_PATH | flags);
  if (statusOf(place).type !== S_IFREG) {
    throw new RangeError(`Cannot open "${path}": it is no regular file`);
  }
  const link = cString(`/proc/self/fd/${place.number}`);
  const result = syscall(SYS.open, addressOf(link), O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
  return new Fd(checked(result, `open "${path}"`), `"${path}"`);
}

/**
 * Whether a file of user `uid` at `path` may be a stranger's: in /tmp and its kin everybody may
 * create files, and remove only his own.
 */
export function isStrangers(path: string, uid: number): boolean {
  const folder = statSync(dirname(path));
  const isShared = (folder.mode & SHARED_FOLDER_MODE) === SHARED_FOLDER_MODE;
  return isShared && uid !== process.geteuid?.() && uid !== folder.uid;
}

/** What a file holds; undefined when that is more than `bytesMax`. Throws SysError. */
export function readWhole(fd: Fd, bytesMax: number): Uint8Array | undefined {
  // Files of /proc say that they are empty.
  const { bytes } = statusOf(fd);
  if (bytes > bytesMax) return undefined;
  let content = new Uint8Array(Math.max(bytes + 1, READ_BYTES_MIN));
  for (let filled = 0; ; ) {
    const to = (addressOf(content) + filled) as Address;
    const got = checked(readInto(fd, to, content.length - filled), `read ${fd.what}`);
    if (got === 0) return content.subarray(0, filled);
    filled += got;
    if (filled > bytesMax) return undefined;
    if (filled < content.length) continue;
    const larger = new Uint8Array(2 * content.length);
    larger.set(content);
    content = larger;
  }
}
