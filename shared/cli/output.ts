/**
 * stdout by plain write(2): whole buffers, from whichever thread has the results. A reader that
 * goes away (`| head`) is told apart from a full disk.
 */
import { POLLOUT, SYS } from "../sys/abi.ts";
import { EAGAIN, SysError } from "../sys/errno.ts";
import { Fd, writeFrom } from "../sys/fd.ts";
import { PollSet } from "../sys/poll.ts";
import { type Address, addressOf, syscall } from "../sys/syscall.ts";

const STDOUT = 1;

/** The reader of our output has gone: an ordinary end, as for any filter. */
export class OutputClosedError extends Error {
  override readonly name = "OutputClosedError";
}

/**
 * Throws SysError when this program was started without a stdout. Bun opens /dev/null then, which
 * would swallow all results: it is told apart by being closed on exec, as nothing inherited is.
 */
export function checkStdout(): void {
  const [F_GETFD, FD_CLOEXEC, EBADF] = [1, 1, 9];
  const flags = syscall(SYS.fcntl, STDOUT, F_GETFD, 0, 0, 0, 0);
  if (flags < 0 || (flags & FD_CLOEXEC) !== 0) throw new SysError("write stdout", EBADF);
}

/** What printOut() writes to; made when it is first needed, as few runs do. */
let stdout: Output | undefined;

/** Prints to stdout. That the reader has seen enough is no error. Throws SysError. */
export function printOut(text: string): void {
  stdout ??= new Output(STDOUT, "stdout");
  try {
    stdout.write(new TextEncoder().encode(text));
  } catch (error) {
    if (!(error instanceof OutputClosedError)) throw error;
  }
}

export class Output {
  readonly #fd: Fd;
  readonly #poll = new PollSet();

  constructor(fdNumber: number, what: string) {
    this.#fd = new Fd(fdNumber, what);
  }

  /** Writes all of `bytes`, waiting where a pipe is full. Throws SysError or OutputClosedError. */
  write(bytes: Uint8Array): void {
    let written = 0;
    while (written < bytes.length) {
      const address = (addressOf(bytes) + written) as Address;
      const result = writeFrom(this.#fd, address, bytes.length - written);
      if (result > 0) written += result;
      else if (result === -EAGAIN) {
        this.#poll.clear();
        this.#poll.add(this.#fd.number, POLLOUT);
        this.#poll.wait(1000);
      } else {
        const EPIPE = 32;
        if (result === -EPIPE) throw new OutputClosedError("Cannot write: the reader has gone");
        throw new SysError(`write ${this.#fd.what}`, -result);
      }
    }
  }
}
