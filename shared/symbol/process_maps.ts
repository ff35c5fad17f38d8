/**
 * Where the code of a process lies, out of /proc/PID/maps:
 *
 *   7f33c1428000-7f33c15b6000 r-xp 00028000 fe:01 131612    /usr/lib/x86_64-linux-gnu/libc.so.6
 *   55e0f2a01000-55e0f2a02000 r-xp 00001000 fe:01 92841     /tmp/a\040b (deleted)
 *
 * Only mappings that can be executed are kept. Addresses of user space are exact as doubles.
 */

/** Mappings of code that one process may have: a browser has some hundred. */
export const MAPPINGS_MAX = 16384;

/** PATH_MAX of the kernel: it names nothing at greater length. */
export const PATH_BYTES_MAX = 4096;
/** Addresses and offsets lie below. */
const U64_END = 2 ** 64;

/** Bytes `start` to `end` of a process: the file `path` from `fileOffset` on. */
export interface CodeMapping {
  readonly start: number;
  readonly end: number;
  readonly fileOffset: number;
  /** "8:1 131612": device and inode; "" when no file is mapped. */
  readonly file: string;
  /** As the kernel names it: a path, "[vdso]", "" for memory of its own. */
  readonly path: string;
  /** No name leads to the file any more. */
  readonly isDeleted: boolean;
}

const DELETED = " (deleted)";
/** How perf names memory of a process's own. */
export const ANONYMOUS = "//anon";
const LINE =
  /^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ..x. ([0-9a-f]{1,16}) ([0-9a-f]{1,8}:[0-9a-f]{1,8}) (\d{1,20}) *(.*)$/gm;
const utf8 = new TextDecoder();
const encoder = new TextEncoder();

/** A copy: what was cut out of a text keeps all of that text in memory. */
function own(piece: string): string {
  return utf8.decode(encoder.encode(piece));
}

/** Whether a kernel could say so: no others are kept, and a guest is asked about these only. */
export function isPlausible({ start, end, fileOffset }: CodeMapping): boolean {
  return start < end && end < U64_END && fileOffset < U64_END;
}

/** The mappings of a maps text, by address. */
export function parseCodeMappings(text: string): CodeMapping[] {
  const mappings: CodeMapping[] = [];
  for (const match of text.matchAll(LINE)) {
    if (mappings.length === MAPPINGS_MAX) break;
    const [, start, end, offset, device, inode, name] = match as unknown as string[];
    const isDeleted = name!.endsWith(DELETED);
    const plain = isDeleted ? name!.slice(0, -DELETED.length) : name!;
    const mapping = {
      start: Number.parseInt(start!, 16),
      end: Number.parseInt(end!, 16),
      fileOffset: Number.parseInt(offset!, 16),
      file: inode === "0" ? "" : own(`${device} ${inode}`),
      // Newlines are all that the kernel escapes there.
      path: own(plain.slice(0, PATH_BYTES_MAX).replaceAll("\\012", "\n")),
      isDeleted,
    };
    if (isPlausible(mapping)) mappings.push(mapping);
  }
  return mappings;
}

/** Lines that parseCodeMappings() reads, at most `bytesMax` characters of them. */
export function formatCodeMappings(mappings: readonly CodeMapping[], bytesMax: number): string {
  let text = "";
  for (const { start, end, fileOffset, file, path, isDeleted } of mappings) {
    const range = `${start.toString(16)}-${end.toString(16)} r-xp ${fileOffset.toString(16)}`;
    const name = path.replaceAll("\n", "\\012") + (isDeleted ? DELETED : "");
    const line = `${range} ${file === "" ? "00:00 0" : file} ${name}\n`;
    if (text.length + line.length > bytesMax) break;
    text += line;
  }
  return text;
}

/** What an MMAP2 record says of one mapping, as a line of maps would. */
export function recordedMapping(record: {
  readonly start: number;
  readonly bytes: number;
  readonly fileOffset: number;
  readonly device: readonly [number, number];
  readonly inode: number;
  readonly name: string;
}): CodeMapping {
  const { start, bytes, fileOffset, device, inode, name } = record;
  const [major, minor] = device.map((part) => part.toString(16).padStart(2, "0"));
  const isDeleted = name.endsWith(DELETED);
  const path = isDeleted ? name.slice(0, -DELETED.length) : name;
  return {
    start,
    end: start + bytes,
    fileOffset,
    file: inode === 0 ? "" : `${major}:${minor} ${inode}`,
    path: path === ANONYMOUS ? "" : path,
    isDeleted,
  };
}

/** The mapping that holds an address. `mappings` are sorted and do not overlap. */
export function mappingAt(
  mappings: readonly CodeMapping[],
  address: number,
): CodeMapping | undefined {
  let from = 0;
  let to = mappings.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (mappings[middle]!.start <= address) from = middle + 1;
    else to = middle;
  }
  const found = mappings[from - 1];
  return found !== undefined && address < found.end ? found : undefined;
}
