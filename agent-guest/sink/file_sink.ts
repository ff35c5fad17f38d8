/**
 * push=FILE: the stream as a file, with payload checksums. Written as it comes, nothing kept back.
 */
import { O_CREAT, O_TRUNC, O_WRONLY } from "../../shared/sys/abi.ts";
import { openFile } from "../../shared/sys/fd.ts";
import { Outlet } from "./outlet.ts";
import type { Sink, SinkHost } from "./sink.ts";

export class FileSink implements Sink {
  readonly name: string;
  readonly outlets: readonly Outlet[];
  readonly wantsEvents = true;
  readonly #outlet: Outlet;
  /** Nobody is waited for: who leaves takes what goes out at once. */
  readonly isLeaving = false;
  readonly #host: SinkHost;
  #isBegun = false;

  /** Creates or truncates `path`, mode 0600. Throws SysError. */
  constructor(path: string, host: SinkHost) {
    this.name = `file "${path}"`;
    this.#host = host;
    const fd = openFile(path, O_WRONLY | O_CREAT | O_TRUNC);
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
    return this.#outlet.positions[index]!;
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
