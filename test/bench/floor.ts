/**
 * The floor: the least that any sampler can cost. Writes as many bytes as the agent wrote, in plain
 * write calls of the agent's mean size, to the same kind of sink, from memory as hot as a ring:
 *
 *   bun floor.ts file build/x 240000000 65536        bun floor.ts tcp - 240000000 65536
 *   bun floor.ts unix /run/x.sock ...                bun floor.ts pty /dev/pts/3 ...
 *
 * It prints {"path":"127.0.0.1:4711"} when a reader may connect, {"cpuNs":N,"writes":N} at the end:
 * user and system time of this process between the first and the last write.
 */
import { writeSync } from "node:fs";
import { O_CREAT, O_NOCTTY, O_TRUNC, O_WRONLY, POLLIN, POLLOUT } from "../../shared/sys/abi.ts";
import { EAGAIN, SysError } from "../../shared/sys/errno.ts";
import { type Fd, openFile, writeFrom } from "../../shared/sys/fd.ts";
import { Mapping } from "../../shared/sys/mapping.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import { acceptFrom, boundPort, listenOn } from "../../shared/sys/socket.ts";
import type { Address } from "../../shared/sys/syscall.ts";
import { processCpuNs } from "./kernel.ts";

const RING_BYTES = 4 * 1024 * 1024;
const WAIT_MS = 10_000;

function say(value: object): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

function acceptOne(listener: Fd): Fd {
  const poll = new PollSet();
  poll.add(listener.number, POLLIN);
  for (;;) {
    const fd = acceptFrom(listener);
    if (fd !== undefined) return fd;
    if (poll.wait(WAIT_MS) === 0) throw new RangeError("Cannot write the floor: no reader came");
  }
}

function openSink(kind: string, where: string): Fd {
  if (kind === "file") return openFile(where, O_WRONLY | O_CREAT | O_TRUNC);
  if (kind === "pty") return openFile(where, O_WRONLY | O_NOCTTY);
  const listener =
    kind === "tcp"
      ? listenOn({ kind, host: "127.0.0.1", port: 0 })
      : listenOn({ kind: "unix", path: where });
  say({ path: kind === "tcp" ? `127.0.0.1:${boundPort(listener)}` : where });
  return acceptOne(listener);
}

/** Writes all; where the descriptor does not block, waits for room as a sampler does. */
function writeAll(fd: Fd, from: Address, bytes: number, writeBytes: number): number {
  const poll = new PollSet();
  poll.add(fd.number, POLLOUT);
  let writes = 0;
  for (let done = 0, at = 0; done < bytes; ) {
    if (at + writeBytes > RING_BYTES) at = 0;
    const written = writeFrom(fd, (from + at) as Address, Math.min(writeBytes, bytes - done));
    writes++;
    if (written === -EAGAIN) {
      poll.wait(WAIT_MS);
      continue;
    }
    if (written < 0) throw new SysError(`write to ${fd.what}`, -written);
    at += written;
    done += written;
  }
  return writes;
}

const [kind = "", where = "", bytesText = "", writeBytesText = ""] = process.argv.slice(2);
const ring = Mapping.anonymous(RING_BYTES);
new Uint8Array(ring.buffer).fill(0x5a);
const fd = openSink(kind, where);
const startNs = processCpuNs(process.pid);
const writes = writeAll(fd, ring.address, Number(bytesText), Number(writeBytesText));
const cpuNs = processCpuNs(process.pid) - startNs;
fd.close();
say({ cpuNs, writes });
