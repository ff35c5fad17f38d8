/**
 * What QEMU does with a virtio-serial port and its tcp chardev, between a pseudo terminal and a tcp
 * port: bytes go through both ways while somebody is connected, one client at a time.
 */
import { createServer, type Server, type Socket } from "node:net";
import { EAGAIN } from "../../shared/sys/errno.ts";
import { readInto, writeFrom } from "../../shared/sys/fd.ts";
import { addressOf } from "../../shared/sys/syscall.ts";
import { openPty, type Pty } from "../bench/pty.ts";

const PUMP_MS = 2;
const BUFFER_BYTES = 64 * 1024;

export class SerialBridge implements AsyncDisposable {
  readonly pty: Pty = openPty();
  readonly #server: Server = createServer((client) => this.#accept(client));
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #toGuest: Uint8Array[] = [];
  readonly #pump = setInterval(() => this.#move(), PUMP_MS);
  #client: Socket | undefined;

  /** Listens on loopback; gives the port, which the kernel chooses when `port` is taken. */
  async listen(port: number): Promise<number> {
    const attempt = (wanted: number): Promise<boolean> =>
      new Promise((resolve) => {
        this.#server.once("error", () => resolve(false));
        this.#server.listen(wanted, "127.0.0.1", () => resolve(true));
      });
    if (!(await attempt(port))) await attempt(0);
    return (this.#server.address() as { port: number }).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pump);
    this.#client?.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.pty.master.close();
    this.pty.slave.close();
  }

  #accept(client: Socket): void {
    this.#client?.destroy();
    this.#client = client;
    client.on("data", (bytes: Uint8Array | string) => this.#toGuest.push(bytes as Uint8Array));
    client.on("error", () => {
      // The host may go at any moment: "close" follows.
    });
    client.on("close", () => {
      if (this.#client === client) this.#client = undefined;
    });
  }

  #move(): void {
    const { master } = this.pty;
    const address = addressOf(this.#buffer);
    for (;;) {
      const got = readInto(master, address, BUFFER_BYTES);
      if (got <= 0) break;
      // With nobody connected QEMU discards what the guest writes.
      this.#client?.write(this.#buffer.slice(0, got));
    }
    for (let next = this.#toGuest[0]; next !== undefined; next = this.#toGuest[0]) {
      const written = writeFrom(master, addressOf(next), next.length);
      if (written === -EAGAIN || written <= 0) return;
      if (written < next.length) this.#toGuest[0] = next.slice(written);
      else this.#toGuest.shift();
    }
  }
}
