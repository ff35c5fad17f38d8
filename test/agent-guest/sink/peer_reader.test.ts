/** PeerReader: hosts that say more than they may, and that do not read what they are answered. */
import { describe, expect, test } from "bun:test";
import { Outlet, WAITING_BYTES_MAX } from "../../../agent-guest/sink/outlet.ts";
import { type PeerListener, PeerReader } from "../../../agent-guest/sink/peer_reader.ts";
import { SLICE_MS } from "../../../agent-guest/sink/talk_budget.ts";
import { POLLIN, POLLOUT } from "../../../shared/sys/abi.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { ErrorCode } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { GuestClient } from "../support/guest_client.ts";
import { range } from "../support/numbers.ts";
import { GATHERED } from "../support/outlet_fixture.ts";
import { SocketPair } from "../support/socket_pair.ts";

const SEND_BYTES = 1024 * 1024;
const DEADLINE_MS = 30_000;
const nothing = (): void => {};
const DEAF: PeerListener = {
  onAttach: nothing,
  onAck: nothing,
  onPing: nothing,
  onControl: nothing,
  onSymbols: nothing,
  onBye: nothing,
  onEnd: nothing,
};

/** A guest's end of a channel, whose host has sent `requests` requests, numbered from 0. */
class Guest implements Disposable {
  readonly #pair = new SocketPair("stream", SEND_BYTES);
  readonly host = new GuestClient(this.#pair.writer);
  readonly outlet = new Outlet(this.#pair.reader, "the test", 1, GATHERED);
  readonly heard: number[] = [];
  readonly reader: PeerReader;

  constructor(requests: number, obey: (id: number, outlet: Outlet) => void) {
    this.reader = new PeerReader(this.outlet, {
      ...DEAF,
      onControl: ({ id }) => {
        this.heard.push(id);
        obey(id, this.outlet);
      },
    });
    for (const id of range(requests)) {
      this.host.send(FrameType.CONTROL, { id, request: undefined });
    }
  }

  [Symbol.dispose](): void {
    this.reader.close();
    this.outlet.close();
    this.host.close();
    this.#pair[Symbol.dispose]();
  }
}

describe("PeerReader", () => {
  test("read() obeys for a slice of time, then the rest, each once and in order", async () => {
    const REQUESTS = 250;
    const BUSY_MS = 1;
    using guest = new Guest(REQUESTS, () => {
      for (const fromMs = performance.now(); performance.now() < fromMs + BUSY_MS; );
    });
    const { heard, reader } = guest;
    reader.read();
    expect(heard.length).toBeGreaterThan(0);
    expect(heard.length).toBeLessThanOrEqual(SLICE_MS / BUSY_MS + 1);
    expect(reader.isBehind).toBe(true);
    let wasTurnedAway = false;
    const hasHeardAll = (): boolean => {
      while (reader.wantsInput && heard.length < REQUESTS) reader.read();
      wasTurnedAway ||= heard.length < REQUESTS;
      return heard.length === REQUESTS;
    };
    await waitUntil(hasHeardAll, DEADLINE_MS, "all requests");
    expect(wasTurnedAway).toBe(true);
    expect(heard).toEqual(range(REQUESTS));
  });

  test("a host that does not read its answers is not listened to, and loses none", async () => {
    const REQUESTS = 2000;
    const hint = "x".repeat(4096);
    expect(REQUESTS * hint.length).toBeGreaterThan(2 * WAITING_BYTES_MAX);
    using guest = new Guest(REQUESTS, (id, outlet) => {
      const error = { code: ErrorCode.UNSUPPORTED, message: "", hint, text: "", position: 0 };
      outlet.send(FrameType.CONTROL_REPLY, { id, error, events: [], more: false });
    });
    const { heard, reader, outlet, host } = guest;
    const isFull = (): boolean => {
      reader.read();
      return outlet.isCrowded || outlet.failure !== undefined;
    };
    await waitUntil(isFull, DEADLINE_MS, "a full outlet");
    for (let i = 0; i < 10; i++) reader.read();
    expect(outlet.failure).toBeUndefined();
    expect(heard.length).toBeLessThan(REQUESTS);
    expect(reader.pollEvents).toBe(POLLOUT);
    const hasAllAnswers = (): boolean => {
      reader.serve(POLLIN | POLLOUT);
      return host.reader.replies.length === REQUESTS;
    };
    await host.until(hasAllAnswers, "all answers");
    expect(host.reader.replies.map(({ id }) => id)).toEqual(range(REQUESTS));
  });
});
