/** The handshake with one guest, frame by frame, on a real socket with a clock of our own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SourceError } from "../../../agent-host/link/source.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { type Attach, ErrorCode, type Hello } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { clockSampleNow, fakeEvent, fakeHello, markerRecord } from "../support/guest_stream.ts";
import { LinkHarness, ofType } from "../support/link_harness.ts";

let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const open = (): LinkHarness => new LinkHarness(workspace.file(`${sockets++}`));

/** A harness whose guest has answered the first Attach. */
function greeted(changes: Partial<Hello> = {}): LinkHarness {
  const harness = open();
  const { attachNonce } = harness.attach();
  harness.message(FrameType.HELLO, fakeHello({ twoWay: true, attachNonce, ...changes }));
  return harness;
}

describe("GuestLink attaches", () => {
  test("at once, and every second until it is answered, each time with a new nonce", () => {
    using harness = open();
    const first = harness.attach();
    expect(first).toMatchObject({ streamNonce: 0n, resume: [], agentVersion: "test" });
    expect(harness.tick(999)).toEqual([]);
    const [again] = ofType(harness.tick(1), "ATTACH") as Attach[];
    expect(again!.attachNonce).not.toBe(first.attachNonce);
  });

  test("and hears the stream begin when all its events have come", () => {
    using harness = greeted({ eventCount: 3 });
    expect([harness.heard, harness.link.isStreaming]).toEqual([[], false]);
    harness.message(FrameType.EVENTS, { events: [fakeEvent({ index: 1 })] });
    expect(harness.link.isStreaming).toBe(false);
    harness.message(FrameType.EVENTS, { events: [fakeEvent({ index: 2 })] });
    expect([harness.heard, harness.link.isStreaming]).toEqual([["stream 3"], true]);
    expect(ofType(harness.tick(5000 - 3001), "ATTACH")).toEqual([]);
  });

  test("and ignores the Hello that answers an earlier Attach", () => {
    using harness = open();
    const { attachNonce } = harness.attach();
    harness.tick(1000);
    harness.message(FrameType.HELLO, fakeHello({ twoWay: true, attachNonce }));
    expect(harness.heard).toEqual([]);
    expect(harness.link.hello).toBeUndefined();
  });

  test("and takes a Hello without a nonce, as one-way sinks send it", () => {
    using harness = open();
    harness.message(FrameType.HELLO, fakeHello());
    expect(harness.heard).toEqual(["stream 1"]);
  });

  test("and passes over what an older stream left on the way", () => {
    using harness = open();
    harness.attach();
    harness.send(new Uint8Array(1000).fill(0x56), harness.writer.samples(0, 0, markerRecord(1, 1)));
    harness.message(FrameType.PROGRESS, { tsc: 5n });
    expect([harness.heard, harness.link.malformedFrames]).toEqual([[], 0]);
    harness.message(FrameType.HELLO, fakeHello());
    expect(harness.link.garbageBytes).toBe(0);
    harness.send(
      new Uint8Array(100).fill(0x56),
      harness.writer.frame(FrameType.PROGRESS, { tsc: 6n }),
    );
    expect(harness.link.garbageBytes).toBe(100);
    expect(harness.heard).toEqual(["stream 1", "progress 6"]);
  });
});

describe("GuestLink re-attaches", () => {
  test("after three seconds of silence, with its stream and positions", () => {
    using harness = greeted();
    harness.positions = [{ cpu: 0, position: 96n }];
    expect(ofType(harness.tick(2000), "ATTACH")).toEqual([]);
    harness.message(FrameType.CLOCK_SAMPLE, clockSampleNow());
    expect(ofType(harness.tick(3000), "ATTACH")).toEqual([]);
    expect(ofType(harness.tick(1), "ATTACH")).toMatchObject([
      { streamNonce: fakeHello().streamNonce, resume: [{ cpu: 0, position: 96n }] },
    ]);
  });

  test("when only pings are answered: by an agent that was restarted", () => {
    using harness = greeted();
    for (let seq = 0; seq < 3; seq++) {
      harness.tick(1000);
      harness.message(FrameType.PONG, { seq, echoTsc: 1n, receivedTsc: 2n, sentTsc: 3n });
    }
    expect(ofType(harness.tick(1), "ATTACH")).toHaveLength(1);
  });

  test("and goes on when the same stream answers, begins anew for another one", () => {
    for (const [streamNonce, heard] of [
      [fakeHello().streamNonce, "stream 1 resumed"],
      [77n, "stream 1"],
    ] as const) {
      using harness = greeted();
      const [attach] = ofType(harness.tick(3001), "ATTACH") as Attach[];
      const { attachNonce } = attach!;
      harness.message(FrameType.HELLO, fakeHello({ twoWay: true, attachNonce, streamNonce }));
      expect(harness.heard).toEqual(["stream 1", heard]);
    }
  });

  test("frames behind the answer to an earlier Attach are another stream's, if it says so", () => {
    for (const [streamNonce, isSame] of [
      [fakeHello().streamNonce, true],
      [77n, false],
    ] as const) {
      using harness = greeted();
      const [first] = ofType(harness.tick(3001), "ATTACH") as Attach[];
      const [last] = ofType(harness.tick(1000), "ATTACH") as Attach[];
      const answer = (attach: Attach | undefined): void => {
        const { attachNonce } = attach!;
        harness.message(FrameType.HELLO, fakeHello({ twoWay: true, attachNonce, streamNonce }));
      };
      answer(first);
      harness.send(harness.writer.samples(0, 0, markerRecord(1, 1)));
      expect(harness.heard).toHaveLength(isSame ? 2 : 1);
      answer(last);
      expect(harness.heard.at(-1)).toBe(isSame ? "stream 1 resumed" : "stream 1");
      harness.send(harness.writer.samples(0, 0, markerRecord(1, 1)));
      expect(harness.heard.at(-1)).toStartWith("samples 0 0 ");
    }
  });

  test("a first stream whose nonce is 0 is not taken for a known one", () => {
    using harness = greeted({ streamNonce: 0n });
    expect(harness.heard).toEqual(["stream 1"]);
  });
});

describe("GuestLink in a stream", () => {
  test("hands on every kind of frame", () => {
    using harness = greeted();
    harness.message(FrameType.CLOCK_SAMPLE, clockSampleNow());
    harness.send(harness.writer.samples(3, 480, markerRecord(1, 1)));
    harness.message(FrameType.PROGRESS, { tsc: 9n });
    harness.message(FrameType.TASK, { tasks: [{ pid: 1, comm: new Uint8Array(2) }] });
    const lost = { cpu: 0, place: "x", events: 7n, bytes: 0n, fromPosition: 0n, toPosition: 0n };
    harness.message(FrameType.LOST, lost);
    const stamps = { echoTsc: 1n, receivedTsc: 2n, sentTsc: 3n };
    harness.message(FrameType.PONG, { seq: 5, ...stamps });
    harness.message(FrameType.STATS, { cpus: [], final: true, agentCpuNs: 0n, rssBytes: 0n });
    expect(harness.heard).toEqual([
      ...["stream 1", "clock 0", "samples 3 480 48", "progress 9", "tasks 1", "lost 7"],
      ...["pong 5", "stats final"],
    ]);
  });

  test("acknowledges what is new, some milliseconds later, and nothing again", () => {
    using harness = greeted();
    harness.positions = [{ cpu: 0, position: 48n }];
    expect(ofType(harness.tick(100), "ACK")).toEqual([]);
    harness.send(harness.writer.samples(0, 0, markerRecord(1, 1)));
    expect(ofType(harness.tick(100), "ACK")).toEqual([{ positions: [{ cpu: 0, position: 48n }] }]);
    expect(ofType(harness.tick(100), "ACK")).toEqual([]);
  });

  test("acknowledges at once when much has come", () => {
    using harness = greeted();
    harness.positions = [{ cpu: 0, position: 48n }];
    harness.tick(1);
    const span = new Array(64 * 1024).fill(0);
    for (let i = 0; i < 4; i++) harness.send(harness.writer.samples(0, i * span.length, span));
    expect(ofType(harness.said(), "ACK")).toHaveLength(1);
  });

  test("acknowledges once more what it had before the same stream goes on", () => {
    for (const [streamNonce, times] of [
      [fakeHello().streamNonce, 1],
      [77n, 0],
    ] as const) {
      using harness = greeted();
      harness.positions = [{ cpu: 0, position: 48n }];
      harness.send(harness.writer.samples(0, 0, markerRecord(1, 1)));
      expect(ofType(harness.tick(100), "ACK")).toHaveLength(1);
      const [attach] = ofType(harness.tick(3001), "ATTACH") as Attach[];
      const { attachNonce } = attach!;
      harness.message(FrameType.HELLO, fakeHello({ twoWay: true, attachNonce, streamNonce }));
      const again = new Array(times).fill({ positions: [{ cpu: 0, position: 48n }] });
      expect(ofType(harness.said(), "ACK")).toEqual(again);
      expect(ofType(harness.tick(100), "ACK")).toEqual([]);
    }
  });

  test("acknowledges nothing to a one-way sink", () => {
    using harness = greeted({ twoWay: false, attachNonce: 0n });
    harness.positions = [{ cpu: 0, position: 48n }];
    harness.send(harness.writer.samples(0, 0, markerRecord(1, 1)));
    expect(ofType(harness.tick(1000), "ACK")).toEqual([]);
  });

  test("passes over events that come when all are known", () => {
    using harness = greeted();
    harness.message(FrameType.EVENTS, { events: [fakeEvent()] });
    expect([harness.heard, harness.link.malformedFrames]).toEqual([["stream 1"], 0]);
  });

  test("refuses a guest whose description of its stream cannot be read", () => {
    const broken = new Uint8Array(8).fill(0xff);
    for (const type of [FrameType.HELLO, FrameType.EVENTS]) {
      using harness = greeted({ eventCount: 2 });
      const send = (): void => harness.send(harness.writer.header(type, broken.length), broken);
      expect(send).toThrow(/^Cannot use unix:\S+: Cannot read a (HELLO|EVENTS) message: /);
    }
  });

  test("counts frames that are not what they say, and goes on", () => {
    using harness = greeted();
    const broken = new Uint8Array(8).fill(0xff);
    for (const type of [FrameType.SAMPLES, FrameType.PROGRESS, FrameType.TASK, FrameType.HELLO]) {
      harness.send(harness.writer.header(type, broken.length), broken);
    }
    expect(harness.link.malformedFrames).toBe(4);
    harness.message(FrameType.PROGRESS, { tsc: 9n });
    expect(harness.heard).toEqual(["stream 1", "progress 9"]);
  });

  test("sends pings that carry its own stamp", () => {
    using harness = greeted();
    harness.said();
    for (const awaitUs of [0, 100, 1000]) {
      const senderTsc = harness.link.ping(42, awaitUs)!;
      const message = { seq: 42, senderTsc, awaitUs };
      expect(harness.said()).toEqual([{ type: "PING", message }]);
    }
  });
});

describe("GuestLink ends", () => {
  test("with the guest's goodbye, after which nothing is said or heard", () => {
    using harness = greeted();
    harness.send(harness.writer.goodbye());
    expect(harness.link.bye).toMatchObject({ exitCode: 0 });
    harness.message(FrameType.PROGRESS, { tsc: 9n });
    expect(harness.heard).toEqual(["stream 1", "stats final"]);
    expect(harness.tick(10_000)).toEqual([]);
    expect(() => harness.close()).not.toThrow();
  });

  test("with our own goodbye", () => {
    using harness = greeted();
    harness.said();
    harness.link.leave();
    expect(harness.said()).toMatchObject([{ type: "BYE" }]);
  });

  test("with an error when the connection closes in mid-stream", () => {
    using harness = greeted();
    expect(() => harness.close()).toThrow(
      /^Lost unix:\S+: it closed the connection in mid-stream$/,
    );
  });

  test("with another one when it closes before anything was said", () => {
    using harness = open();
    expect(() => harness.close()).toThrow(/it closed the connection without a word$/);
  });

  test("with what the guest says is wrong, and its hint", () => {
    using harness = open();
    const code = ErrorCode.LIMIT;
    const refusal = { code, message: "Cannot attach: full", hint: "wait", text: "", position: 0 };
    let thrown: unknown;
    try {
      harness.message(FrameType.ERROR, refusal);
    } catch (caught) {
      thrown = caught;
    }
    expect(thrown).toBeInstanceOf(SourceError);
    expect((thrown as SourceError).message).toContain(" answers: Cannot attach: full (LIMIT)");
    expect((thrown as SourceError).hint).toBe("wait");
  });

  test("with an error when a Hello promises or holds too many events", () => {
    expect(() => greeted({ eventCount: 4097 })).toThrow(/it has over 4096 events$/);
  });
});

test("GuestLink.waitingFor tells silence, garbage and a missing clock apart", () => {
  using harness = open();
  expect(harness.link.waitingFor).toContain("it is connected, and nothing answers yet");
  harness.send(new Uint8Array(500));
  expect(harness.link.waitingFor).toContain("500 bytes of something else came");
  harness.message(FrameType.HELLO, fakeHello());
  expect(harness.link.waitingFor).toStartWith("the clock of unix:");
});
