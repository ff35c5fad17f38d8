/**
 * push=FILE: the stream as a file, with payload checksums. Written as it comes, nothing kept back.
 *
 * The agent is mostly root, and the folder may be anybody's: what stands there is not believed.
 *
 *   nothing              created, mode 0600
 *   a file               truncated, unless it has another name too (a hard link), or lies in a
 *                        folder like /tmp and belongs to somebody else
 *   a symbolic link      refused: it could have been put there to have another file overwritten
 */
import {
  O_CREAT,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_WRONLY,
  S_IFCHR,
  S_IFREG,
} from "../../shared/sys/abi.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { Fd, openFile, statusOf, truncateFile } from "../../shared/sys/fd.ts";
import { isStrangers } from "../../shared/sys/regular_file.ts";
import { Outlet } from "./outlet.ts";
import type { Sink, SinkHost } from "./sink.ts";

/** Opens `path` for a recording and leaves its content alone. Throws SysError, RangeError. */
export function openRecording(path: string): Fd {
  const fd = openWithoutFollowing(path);
  try {
    checkOwn(path, fd);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

function openWithoutFollowing(path: string): Fd {
  try {
    // O_NONBLOCK: a FIFO that was put there would keep us waiting for its reader.
    return openFile(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    if (error.code === "ELOOP") {
      const hint = "it is a symbolic link, which is not followed: name the file itself";
      throw new SysError(`push to "${path}"`, error.errno, hint);
    }
    if (error.code !== "EACCES") throw error;
    const hint = "choose a folder of your own; --keep-privileges keeps CAP_DAC_OVERRIDE";
    throw new SysError(`push to "${path}"`, error.errno, hint);
  }
}

function checkOwn(path: string, fd: Fd): void {
  const { type, uid, links } = statusOf(fd);
  if (type === S_IFCHR) return;
  const refuse = (what: string): never => {
    throw new RangeError(`Cannot push to "${path}": ${what}`);
  };
  if (type !== S_IFREG) refuse("it is no file");
  if (links > 1) refuse(`it is one of ${links} names of a file (hard links), wants one`);
  if (isStrangers(path, uid)) {
    refuse(`it belongs to user ${uid}, in a folder where everybody may create files`);
  }
}

export class FileSink implements Sink {
  readonly name: string;
  readonly outlets: readonly Outlet[];
  readonly wantsEvents = true;
  readonly #outlet: Outlet;
  /** Nobody is waited for: who leaves takes what goes out at once. */
  readonly isLeaving = false;
  readonly #host: SinkHost;
  #isBegun = false;

  /**
   * Creates or truncates `path`, or takes it over as the descriptor `opened`, which openRecording()
   * gave. Throws SysError, RangeError.
   */
  constructor(path: string, host: SinkHost, opened?: number) {
    this.name = `file "${path}"`;
    this.#host = host;
    const fd = opened === undefined ? openRecording(path) : new Fd(opened, `"${path}"`);
    if (statusOf(fd).type === S_IFREG) truncateFile(fd);
    const options = { isStaged: false, hasChecksums: true };
    this.#outlet = new Outlet(fd, this.name, host.rings.length, options);
    this.outlets = [this.#outlet];
  }

  register(): void {}

  service(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#host.begin(this.#outlet, undefined);
  }

  send(): void {
    this.#host.rings.forEach((ring, index) => {
      this.#outlet.sendRing(index, ring, ring.ring.head);
    });
  }

  releasable(index: number): number {
    // A file that takes no more stands within a record, and what is missing is still to be counted.
    return this.#outlet.wholeUpTo(index, this.#host.rings[index]!);
  }

  get isDrained(): boolean {
    const { rings } = this.#host;
    return rings.every((ring, index) => this.#outlet.positions[index] === ring.ring.head);
  }

  get failure(): Error | undefined {
    return this.#outlet.failure;
  }

  close(): void {
    this.#outlet.close();
  }
}
