/** Bursts against a guest that answers at once, late, or not at all. */
import { describe, expect, test } from "bun:test";
import type { GuestLink } from "../../../agent-host/link/guest_link.ts";
import { PingBurst, type Pinger } from "../../../agent-host/session/ping_burst.ts";

/** What a burst sees of a link, and whom it is told to send to. */
class Peer implements Pinger {
  readonly announced: number[] = [];
  readonly #waiting = new Set<number>();
  answers = Infinity;
  canSend = true;
  readonly link = {
    source: { hasEnded: false },
    receive: () => {
      if (this.answers-- > 0) this.#waiting.clear();
    },
  };

  send(awaitUs: number): number | undefined {
    if (!this.canSend) return undefined;
    this.#waiting.add(this.announced.length);
    return this.announced.push(awaitUs) - 1;
  }

  isWaiting(seq: number): boolean {
    return this.#waiting.has(seq);
  }

  burst(burst: PingBurst, count: number): number[] {
    this.announced.length = 0;
    this.#waiting.clear();
    burst.run(this.link as unknown as GuestLink, this, count);
    return [...this.announced];
  }
}

describe("PingBurst.run()", () => {
  test("sends each ping after the answer to the one before, and announces all but the first", () => {
    const peer = new Peer();
    expect(peer.burst(new PingBurst(), 4)).toEqual([1000, 1000, 1000, 0]);
    expect(peer.burst(new PingBurst(), 1)).toEqual([0]);
  });

  test("ends when an answer does not come, the stream ends, or nothing can leave", () => {
    const peer = new Peer();
    peer.answers = 2;
    expect(peer.burst(new PingBurst(), 9)).toEqual([1000, 1000, 1000]);
    peer.link.source.hasEnded = true;
    expect(peer.burst(new PingBurst(), 9)).toEqual([1000]);
    peer.canSend = false;
    expect(peer.burst(new PingBurst(), 9)).toEqual([]);
  });

  test("on a long way sends single pings, and tries a burst now and then", () => {
    const peer = new Peer();
    const burst = new PingBurst();
    peer.answers = 0;
    for (let i = 0; i < 10; i++) expect(peer.burst(burst, 9)).toEqual([1000]);
    const turns = Array.from({ length: 8 }, () => peer.burst(burst, 9)[0]);
    expect(turns).toEqual([1000, 0, 0, 0, 1000, 0, 0, 0]);
    peer.answers = Infinity;
    expect(peer.burst(burst, 3)).toEqual([1000, 1000, 0]);
    expect(peer.burst(burst, 3)).toEqual([1000, 1000, 0]);
  });
});
