/** A host may say what it wants, and not have the agent do nothing else. */
import { describe, expect, test } from "bun:test";
import { type PeerListener, PeerReader } from "../../../agent-guest/sink/peer_reader.ts";
import { SLICE_MS, TALK_MS_MAX, TalkBudget } from "../../../agent-guest/sink/talk_budget.ts";
import { writeFrom } from "../../../shared/sys/fd.ts";
import { addressOf } from "../../../shared/sys/syscall.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { SocketPair } from "../support/socket_pair.ts";

const SEND_BYTES = 1024 * 1024;
const DEADLINE_MS = 30_000;

describe("TalkBudget", () => {
  test("isLeft() is false when all that was saved up is spent, until a slice is regained", () => {
    const budget = new TalkBudget();
    expect(budget.isLeft(1000)).toBe(true);
    budget.take(1000, 1000 + TALK_MS_MAX);
    expect(budget.isLeft(1000)).toBe(false);
    expect(budget.isLeft(1000 + SLICE_MS * 9)).toBe(false);
    expect(budget.isLeft(1000 + SLICE_MS * 11)).toBe(true);
  });

  test("a host that takes less than a tenth of the time is always listened to", () => {
    const budget = new TalkBudget();
    for (let ms = 0; ms < 100_000; ms += 100) {
      expect(budget.isLeft(ms)).toBe(true);
      budget.take(ms, ms + 9);
    }
  });
});

describe("PeerReader", () => {
  test("read() obeys for a slice of time, then the rest, each once and in order", async () => {
    const REQUESTS = 250;
    const BUSY_MS = 1;
    using pair = new SocketPair("stream", SEND_BYTES);
    const heard: number[] = [];
    const nothing = (): void => {};
    const listener: PeerListener = {
      onAttach: nothing,
      onAck: nothing,
      onPing: nothing,
      onSymbols: nothing,
      onBye: nothing,
      onEnd: nothing,
      onControl: ({ id }) => {
        heard.push(id);
        for (const fromMs = performance.now(); performance.now() < fromMs + BUSY_MS; );
      },
    };
    const writer = new FrameWriter();
    for (let id = 0; id < REQUESTS; id++) {
      const frame = writer.encode(FrameType.CONTROL, { id, request: undefined }, id).slice();
      expect(writeFrom(pair.writer, addressOf(frame), frame.length)).toBe(frame.length);
    }
    const reader = new PeerReader(listener);
    try {
      reader.read(pair.reader);
      expect(heard.length).toBeGreaterThan(0);
      expect(heard.length).toBeLessThanOrEqual(SLICE_MS / BUSY_MS + 1);
      expect(reader.isBehind).toBe(true);
      let wasTurnedAway = false;
      const hasHeardAll = (): boolean => {
        while (reader.wantsInput && heard.length < REQUESTS) reader.read(pair.reader);
        wasTurnedAway ||= heard.length < REQUESTS;
        return heard.length === REQUESTS;
      };
      await waitUntil(hasHeardAll, DEADLINE_MS, "all requests");
      expect(wasTurnedAway).toBe(true);
      expect(heard).toEqual(Array.from({ length: REQUESTS }, (_, id) => id));
    } finally {
      reader.close();
    }
  });
});
