/** Ownership of descriptors, and reads and writes by address. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  O_CREAT,
  O_EXCL,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  POLLIN,
  S_IFCHR,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from "../../../shared/sys/abi.ts";
import { readTsc } from "../../../shared/sys/clock.ts";
import { EAGAIN, SysError } from "../../../shared/sys/errno.ts";
import {
  Fd,
  fileTypeOf,
  ioctl,
  openEventFd,
  openFile,
  readInto,
  readStamped,
  wakeEventFd,
  writeFrom,
  writeGathered,
  writeStamped,
} from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { type Address, addressOf, cString } from "../../../shared/sys/syscall.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-fd-"));
afterAll(() => rmSync(folder, { recursive: true }));
const EBADF = 9;

function isOpen(fdNumber: number): boolean {
  return existsSync(`/proc/self/fd/${fdNumber}`);
}

describe("Fd", () => {
  test("close() closes once, and never a number that was given out again", () => {
    const first = openFile("/dev/null", O_RDONLY);
    const number = first.number;
    first.close();
    expect(isOpen(number)).toBe(false);
    const second = openFile("/dev/zero", O_RDONLY);
    expect(second.number).toBe(number);
    first.close();
    first[Symbol.dispose]();
    expect(isOpen(number)).toBe(true);
    second.close();
    expect(isOpen(number)).toBe(false);
  });

  test("number throws after close(), naming what it was", () => {
    const fd = openFile("/dev/null", O_RDONLY);
    expect(fd.isClosed).toBe(false);
    fd.close();
    expect(fd.isClosed).toBe(true);
    expect(() => fd.number).toThrow('Cannot use "/dev/null": already closed');
  });

  test("an Fd closes at the end of its scope", () => {
    let number = -1;
    {
      using fd = openFile("/dev/null", O_RDONLY);
      number = fd.number;
    }
    expect(isOpen(number)).toBe(false);
  });
});

describe("openFile", () => {
  test("openFile() sets close-on-exec and mode 0600", () => {
    const path = join(folder, "created");
    using fd = openFile(path, O_WRONLY | O_CREAT);
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd.number}`, "utf8"));
    expect(Number.parseInt(flags![1]!, 8) & 0o2000000).not.toBe(0);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("openFile() takes any path that the kernel takes", () => {
    const path = join(folder, 'ü "quoted"\tname');
    openFile(path, O_WRONLY | O_CREAT | O_EXCL).close();
    expect(existsSync(path)).toBe(true);
  });

  const refused: readonly (readonly [string, number, string])[] = [
    [join(folder, "missing"), O_RDONLY, "ENOENT (no such file or directory)"],
    [folder, O_RDWR, "EISDIR (is a directory)"],
    ["/dev/null/x", O_RDONLY, "ENOTDIR"],
    [join(folder, "n".repeat(300)), O_RDONLY, "ENAMETOOLONG"],
    ["", O_RDONLY, "ENOENT"],
  ];
  for (const [path, flags, text] of refused) {
    test(`openFile() refuses with ${text}`, () => {
      expect(() => openFile(path, flags)).toThrow(`Cannot open "${path}": ${text}`);
    });
  }

  test("openFile() refuses a path with NUL in it instead of cutting it off", () => {
    expect(() => openFile("/dev/null\0.txt", O_RDONLY)).toThrow(RangeError);
  });

  test("cString() ends in NUL and encodes UTF-8", () => {
    expect([...cString("aü")]).toEqual([0x61, 0xc3, 0xbc, 0]);
    expect([...cString("")]).toEqual([0]);
    expect(() => cString("a\0b")).toThrow('Cannot use "a\\u0000b": holds NUL');
  });
});

describe("reads and writes", () => {
  test("writeFrom() and readInto() move bytes by address, and 0 is the end", () => {
    const path = join(folder, "bytes");
    const bytes = Uint8Array.of(1, 2, 3, 4, 5);
    using out = openFile(path, O_WRONLY | O_CREAT);
    expect(writeFrom(out, (addressOf(bytes) + 1) as Address, 3)).toBe(3);
    expect([...readFileSync(path)]).toEqual([2, 3, 4]);
    using fd = openFile(path, O_RDONLY);
    const into = new Uint8Array(8);
    expect(readInto(fd, (addressOf(into) + 2) as Address, 6)).toBe(3);
    expect([...into]).toEqual([0, 0, 2, 3, 4, 0, 0, 0]);
    expect(readInto(fd, addressOf(into), 8)).toBe(0);
  });

  test("writeGathered() joins its pieces in order", () => {
    const path = join(folder, "gathered");
    using memory = Mapping.anonymous(4096);
    const bytes = new Uint8Array(memory.buffer);
    bytes.set([...Buffer.from("head")], 0);
    bytes.set([...Buffer.from("tail")], 100);
    const iovecs = new BigUint64Array(memory.buffer, 2048, 4);
    iovecs.set([BigInt(memory.address) + 100n, 4n, BigInt(memory.address), 4n]);
    using fd = openFile(path, O_WRONLY | O_CREAT);
    expect(writeGathered(fd, (memory.address + 2048) as Address, 2)).toBe(8);
    expect(readFileSync(path, "utf8")).toBe("tailhead");
  });

  test("readStamped() stores the TSC behind the read, whatever the read gave", () => {
    using eventFd = openEventFd();
    using memory = Mapping.anonymous(4096);
    const words = new BigUint64Array(memory.buffer, 0, 4);
    const at = (offset: number): Address => (memory.address + offset) as Address;
    for (const expected of [-EAGAIN, 8]) {
      if (expected > 0) wakeEventFd(eventFd.number);
      const before = readTsc();
      expect(readStamped(eventFd, at(0), 8, at(16))).toBe(expected);
      const after = readTsc();
      expect(before <= words[2]! && words[2]! <= after).toBe(true);
      expect([words[1], words[3]]).toEqual([0n, 0n]);
    }
    expect(words[0]).toBe(1n);
  });

  test("writeStamped() puts the TSC where it was told, at any alignment, and writes it", () => {
    const path = join(folder, "stamped");
    using memory = Mapping.anonymous(4096);
    const bytes = new Uint8Array(memory.buffer, 0, 32).fill(0xee);
    using out = openFile(path, O_WRONLY | O_CREAT);
    const before = readTsc();
    expect(writeStamped(out, (memory.address + 2) as Address, 20, 5)).toBe(20);
    const after = readTsc();
    const stamp = new DataView(memory.buffer).getBigUint64(7, true);
    expect(before <= stamp && stamp <= after).toBe(true);
    expect([...readFileSync(path)]).toEqual([...bytes.subarray(2, 22)]);
    expect([bytes[6], bytes[15]]).toEqual([0xee, 0xee]);
    using readOnly = openFile("/dev/null", O_RDONLY);
    expect(writeStamped(readOnly, memory.address, 8, 0)).toBe(-EBADF);
  });

  test("reads and writes give -errno rather than throw", () => {
    const into = new Uint8Array(8);
    using readOnly = openFile("/dev/null", O_RDONLY);
    expect(writeFrom(readOnly, addressOf(into), 1)).toBe(-EBADF);
    using full = openFile("/dev/full", O_WRONLY);
    const ENOSPC = 28;
    expect(writeFrom(full, addressOf(into), 1)).toBe(-ENOSPC);
    using eventFd = openEventFd();
    expect(readInto(eventFd, addressOf(into), 8)).toBe(-EAGAIN);
  });

  test("ioctl() throws with its action", () => {
    using fd = openFile("/dev/null", O_RDONLY);
    expect(() => ioctl(fd, 0x5401, 0, "read the settings")).toThrow(
      "Cannot read the settings: ENOTTY (not a terminal)",
    );
  });

  test("fileTypeOf() tells files, directories and devices apart", () => {
    const path = join(folder, "plain");
    writeFileSync(path, "");
    for (const [name, type] of [
      [path, S_IFREG],
      [folder, S_IFDIR],
      ["/dev/null", S_IFCHR],
    ] as const) {
      using fd = openFile(name, O_RDONLY | O_NONBLOCK);
      expect(fileTypeOf(fd)).toBe(type);
      expect(statSync(name).mode & S_IFMT).toBe(type);
    }
  });
});

describe("eventfd", () => {
  test("wakeEventFd() makes the descriptor readable until it is read", () => {
    using eventFd = openEventFd();
    const poll = new PollSet();
    const slot = poll.add(eventFd.number, POLLIN);
    expect(poll.wait(0)).toBe(0);
    wakeEventFd(eventFd.number);
    wakeEventFd(eventFd.number);
    expect(poll.wait(0)).toBe(1);
    expect(poll.readyEvents(slot)).toBe(POLLIN);
    const counter = new BigUint64Array(1);
    expect(readInto(eventFd, addressOf(counter), 8)).toBe(8);
    expect(counter[0]).toBe(2n);
    expect(poll.wait(0)).toBe(0);
    poll.close();
  });

  test("wakeEventFd() on a full counter is no error: the reader will wake anyway", () => {
    using eventFd = openEventFd();
    const most = BigUint64Array.of((1n << 64n) - 2n);
    expect(writeFrom(eventFd, addressOf(most), 8)).toBe(8);
    expect(() => wakeEventFd(eventFd.number)).not.toThrow();
  });

  test("wakeEventFd() throws for what is no descriptor", () => {
    expect(() => wakeEventFd(1_000_000)).toThrow(SysError);
  });

  test("wakeEventFd() wakes a thread that blocks in poll()", async () => {
    using eventFd = openEventFd();
    const worker = new Worker(new URL("./poll_worker.ts", import.meta.url), { type: "module" });
    const news: unknown[] = [];
    const woken = new Promise<void>((resolve, reject) => {
      worker.onerror = (event) => reject(new Error((event as ErrorEvent).message));
      worker.onmessage = ({ data }) => {
        news.push(data);
        if (data === "waiting") wakeEventFd(eventFd.number);
        else resolve();
      };
    });
    worker.postMessage(eventFd.number);
    await woken;
    expect(news).toEqual(["waiting", 1]);
    worker.terminate();
  });
});

test("an Fd made from a number does not look at it", () => {
  const fd = new Fd(1_000_000, "nothing");
  expect(fd.number).toBe(1_000_000);
  expect(() => fd.close()).not.toThrow();
});
