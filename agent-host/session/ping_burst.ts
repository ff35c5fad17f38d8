/**
 * Round trips in quick succession: the guest's agent stays awake in between, and so do we, so that
 * most of them take what the way takes and not what it takes to wake two processes.
 *
 *   host    ping --.  .--> pong, ping --.  .--> pong, ping ...     one burst, milliseconds
 *   guest          '--' stays awake     '--' stays awake
 *
 * Under QEMU's emulator the first trip of a burst takes some 800 us, the others a tenth of that.
 */
import type { GuestLink } from "../link/guest_link.ts";

/** A burst ends then, whatever has come back: the rings wait meanwhile. */
const BURST_MS_MAX = 5;
/** How long the guest is asked to stay awake for the next ping. */
const AWAIT_US = 1000;
/** Cycles between two looks at the time while waiting for an answer: 20 to 100 us. */
const AWAIT_CYCLES = 100_000;
/** Bursts of which no ping came back in time, before the way is taken to be long or busy ... */
const FUTILE_MAX = 10;
/** ... and only every so many turns another one is tried; in between single pings go out. */
const RETRY_TURNS = 4;

/** Pings that wait for their answer: GuestTime's. */
export interface Pinger {
  /** Sends one; its sequence number, or undefined when it could not leave now. */
  send(awaitUs: number): number | undefined;
  isWaiting(seq: number): boolean;
}

export class PingBurst {
  #futile = 0;
  #turn = 0;

  /** Sends up to `count` pings, each after the answer to the one before. Throws SourceError. */
  run(link: GuestLink, pinger: Pinger, count: number): void {
    const isFutile = this.#futile >= FUTILE_MAX && this.#turn++ % RETRY_TURNS !== 0;
    if (isFutile || count <= 1) {
      pinger.send(0);
      return;
    }
    const deadlineMs = performance.now() + BURST_MS_MAX;
    for (let answered = 0; answered < count; answered++) {
      const seq = pinger.send(answered + 1 < count ? AWAIT_US : 0);
      if (seq === undefined || !this.#await(link, pinger, seq, deadlineMs)) {
        this.#futile = answered > 0 ? 0 : this.#futile + 1;
        return;
      }
    }
    this.#futile = 0;
  }

  #await(link: GuestLink, pinger: Pinger, seq: number, deadlineMs: number): boolean {
    while (pinger.isWaiting(seq)) {
      const nowMs = performance.now();
      if (nowMs > deadlineMs || link.source.hasEnded) return false;
      link.receive(nowMs, AWAIT_CYCLES);
    }
    return true;
  }
}
