/**
 * Provokes interrupts in the guest: each byte written to the port org.vmspan.poke0 makes QEMU
 * inject one, and the guest sends the byte back, so that one is outstanding at a time.
 *
 * The echo alone does not make injections and handler runs equal in number: a reader in the guest
 * looks into the queue itself and can answer before the other CPU has taken the interrupt, and the
 * next injection then falls together with the one pending. A pause after each echo makes that rare
 * (none in most runs of 1,000, against 3 % without); it is random, so as not to lock onto the
 * guest's timer ticks.
 */

import { DeadlineError, withDeadline } from "./deadline.ts";
import { type InterruptLine, type MsiMessage, parseMsiLines, readMsixEntry } from "./msi.ts";
import type { QemuGuest } from "./qemu.ts";
import { POKE_PORT_NAME } from "./qemu_args.ts";

const ECHO_DEADLINE_MS = 10_000;
const CALIBRATION_POKES = 8;
const PAUSE_MS_MIN = 0.5;
const PAUSE_MS_MAX = 2.5;

/** The interrupt that pokes raise, as both sides see it. */
export interface PokeInterrupt {
  /** The guest's line: irq number and name of irq_handler_entry. */
  readonly line: InterruptLine;
  /** The host's view: what msi_send_message is called with. */
  readonly message: MsiMessage;
}

export class Poker {
  readonly #guest: QemuGuest;
  #echoed = 0;
  #onEcho: (() => void) | undefined;

  constructor(guest: QemuGuest) {
    this.#guest = guest;
    guest.poke.on("data", (bytes: Uint8Array) => {
      this.#echoed += bytes.length;
      this.#onEcho?.();
    });
  }

  /** Starts the echo in the guest. A port takes one opener: cat reads and writes one descriptor. */
  async start(): Promise<void> {
    const device = await this.#guest.waitForPort(POKE_PORT_NAME);
    await this.#guest.waitForHostEnd(device);
    await this.#guest.shell.output(`(cat <>${device} >&0) >/dev/null 2>&1 &`);
    await this.poke(1);
  }

  /**
   * Provokes `count` interrupts, one after the other.
   * @param progress is told now and then how many are done
   * @throws DeadlineError when the guest answers no more
   */
  async poke(count: number, progress?: (done: number) => void): Promise<void> {
    for (let done = 0; done < count; done++) {
      const wanted = this.#echoed + 1;
      const echo = new Promise<void>((resolve) => {
        this.#onEcho = () => {
          if (this.#echoed >= wanted) {
            resolve();
          }
        };
      });
      this.#guest.poke.write("!");
      await withDeadline(echo, ECHO_DEADLINE_MS, `echo ${done + 1} of ${count} from the guest`);
      const pauseMs = PAUSE_MS_MIN + Math.random() * (PAUSE_MS_MAX - PAUSE_MS_MIN);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      progress?.(done + 1);
    }
  }

  /** Finds the poke port's interrupt by provoking a few and looking which line counted them. */
  async learnInterrupt(): Promise<PokeInterrupt> {
    const { shell, qmp } = this.#guest;
    const before = parseMsiLines(await shell.output("cat /proc/interrupts"));
    await this.poke(CALIBRATION_POKES);
    const after = parseMsiLines(await shell.output("cat /proc/interrupts"));
    const line = after.find(({ irq, name, count }) => {
      const grown = count - (before.find((other) => other.irq === irq)?.count ?? 0);
      return name.endsWith("-input") && grown > 0 && grown <= CALIBRATION_POKES;
    });
    if (line === undefined) {
      throw new DeadlineError("Cannot find the poke port's interrupt: no input line counted pokes");
    }
    return { line, message: await readMsixEntry(qmp, line.entry) };
  }
}
