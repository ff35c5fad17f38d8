/**
 * A pseudo terminal that passes bytes through unchanged: as a character device, what a
 * virtio-serial port looks like to the guest agent. The master end plays QEMU's part.
 */
import { O_NOCTTY, O_NONBLOCK, O_RDWR } from "../../shared/sys/abi.ts";
import { type Fd, ioctl, openFile } from "../../shared/sys/fd.ts";
import { addressOf } from "../../shared/sys/syscall.ts";

/** Must match <asm-generic/ioctls.h>. */
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;

/** c_cflag bits; must match <asm-generic/termbits.h>. */
const CSIZE = 0o60;
const CS8 = 0o60;
const PARENB = 0o400;

export interface Pty {
  readonly master: Fd;
  /** Keeps the settings, and the master from reading EIO, until the other side has opened it. */
  readonly slave: Fd;
  readonly path: string;
}

/** struct termios {u32 iflag, oflag, cflag, lflag, ...}: no translation, echo, signals or lines. */
function makeRaw(fd: Fd): void {
  const termios = new Uint32Array(16);
  ioctl(fd, TCGETS, addressOf(termios), `read the settings of ${fd.what}`);
  termios[0] = 0;
  termios[1] = 0;
  termios[2] = (termios[2]! & ~(CSIZE | PARENB)) | CS8;
  termios[3] = 0;
  ioctl(fd, TCSETS, addressOf(termios), `change the settings of ${fd.what}`);
}

/** Opens a new pair. Throws SysError. */
export function openPty(): Pty {
  const master = openFile("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
  const unlocked = Int32Array.of(0);
  ioctl(master, TIOCSPTLCK, addressOf(unlocked), "unlock a pty");
  const number = new Int32Array(1);
  ioctl(master, TIOCGPTN, addressOf(number), "read the number of a pty");
  const path = `/dev/pts/${number[0]}`;
  const slave = openFile(path, O_RDWR | O_NOCTTY);
  makeRaw(slave);
  return { master, slave, path };
}
