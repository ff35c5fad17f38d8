/**
 * A guest's whole stream, damaged at random, through link, session, decoder and merger: whatever it
 * is, it gives records or a SourceError, in bounded memory, and every sample is accounted for.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import * as fc from "fast-check";
import type { CpuLedger } from "../../../agent-host/analyze/cpu_ledger.ts";
import { Source, SourceError } from "../../../agent-host/link/source.ts";
import { Guest } from "../../../agent-host/session/guest.ts";
import { NO_ROOM } from "../../../agent-host/session/guest_ledger.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { guestFaults } from "../../../agent-host/session/session_faults.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { ExprError } from "../../../shared/expr/error.ts";
import { FrameType, setFrameSequence } from "../../../shared/wire/frame.ts";
import { perNight } from "../../nightly.ts";
import { Workspace } from "../../vm/workspace.ts";
import {
  exactClockSample,
  FAKE_EVENT,
  fakeHello,
  fittedClockSample,
  join,
  markerRecord,
  recording,
} from "../support/guest_stream.ts";

const RUNS = perNight(1000, 100_000);
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Frames of a sound stream, one by one. */
function soundFrames(clock: "exact" | "fitted" = "exact"): Uint8Array[] {
  const { writer } = recording([]);
  const span = Array.from({ length: 20 }, (_, i) => markerRecord(1000 + i, i)).flat();
  const isExact = clock === "exact";
  const samples = isExact ? [exactClockSample()] : [400n, 600n, 800n].map(fittedClockSample);
  const later = isExact ? exactClockSample(3) : fittedClockSample(90_000n);
  const lost = { cpu: 0, place: "x", events: 3n, bytes: 9n, fromPosition: 0n, toPosition: 9n };
  return [
    writer.frame(FrameType.HELLO, fakeHello()),
    ...samples.map((sample) => writer.frame(FrameType.CLOCK_SAMPLE, sample)),
    writer.samples(0, 0, span),
    writer.frame(FrameType.PROGRESS, { tsc: 2030n }),
    writer.frame(FrameType.TASK, { tasks: [{ pid: 77, comm: new Uint8Array([65, 66]) }] }),
    writer.samples(0, span.length, span.slice(0, 100), true),
    writer.samples(0, span.length + 100, span.slice(100), false),
    writer.frame(FrameType.LOST, lost),
    writer.frame(FrameType.CLOCK_SAMPLE, later),
    writer.goodbye(),
  ];
}

interface Read {
  readonly released: number;
  readonly guest: Guest;
  readonly rows: readonly CpuLedger[];
}

/** Reads a stream to its end, as the engine does. */
function readStream(bytes: Uint8Array): Read {
  const path = workspace.file("fuzz.vms");
  writeFileSync(path, bytes);
  const session = new Session(undefined);
  let released = 0;
  session.sink = (_chunk, from, to) => {
    released += to - from;
  };
  const wanted = [{ stage: 0, spec: parseEventSpecs(`${FAKE_EVENT}//key=value/`)[0]! }];
  const source = new Source({ kind: "file", name: path, path });
  const request = { ringBytes: 4096, callChains: false, key: undefined };
  const options = { ...request, agentVersion: "test", printsEvents: true, onStatus: () => {} };
  const guest = new Guest(session, 1, source, wanted, undefined, options);
  try {
    while (!guest.hasEnded) {
      guest.link.receive(0);
      guest.settle();
      session.merger.release();
    }
    session.merger.flush();
    guestFaults(guest);
    const rows = guest.ledger.rows();
    return { released, guest, rows };
  } finally {
    guest.close();
    expect(session.pool.available).toBe(session.pool.capacity);
  }
}

function expectHandled(bytes: Uint8Array): void {
  try {
    const { released, guest } = readStream(bytes);
    let decoded = 0;
    for (const { decoder } of guest.rings.intakes.values()) {
      const { samples, malformedSamples, unknownEvents } = decoder.counters;
      decoded += samples - malformedSamples - unknownEvents;
    }
    expect(released).toBe(decoded);
  } catch (error) {
    const isExpected = error instanceof SourceError || error instanceof ExprError;
    if (!isExpected) throw error;
  }
}

test("a sound stream gives all of its records", () => {
  expect(readStream(join(...soundFrames())).released).toBe(40);
  expect(readStream(join(...soundFrames("fitted"))).released).toBe(40);
});

test("of processes whose call chains are not sampled, no address spaces are kept", () => {
  expect(readStream(join(...soundFrames())).guest.rings.users).toBeUndefined();
});

test("samples whose clock never came are counted as ours, not as the kernel's", () => {
  const { writer } = recording([]);
  const span = Array.from({ length: 20 }, (_, i) => markerRecord(1000 + i, i)).flat();
  const end = BigInt(span.length);
  const row = { cpu: 0, produced: 20n, lostKernel: 0n, drops: [], sentPosition: end };
  const { rows } = readStream(
    join(
      writer.frame(FrameType.HELLO, fakeHello()),
      writer.samples(0, 0, span),
      writer.goodbye([{ ...row, headPosition: end, ackedPosition: end }]),
    ),
  );
  const drops = [{ place: NO_ROOM, events: 20 }];
  expect(rows).toMatchObject([{ produced: 20, delivered: 0, lostKernel: 0, drops }]);
});

test.each(["exact", "fitted"] as const)(
  "bytes that are changed within frames, %s clock",
  (clock) => {
    const frames = soundFrames(clock);
    const damage = fc.record({
      frame: fc.nat(frames.length - 1),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      byte: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 12 }), (damages) => {
        const copies = frames.map((frame) => frame.slice());
        for (const { frame, at, byte } of damages) {
          const bytes = copies[frame]!;
          bytes[16 + Math.floor(at * (bytes.length - 17))] = byte;
        }
        expectHandled(join(...copies));
      }),
      { numRuns: RUNS / 2 },
    );
  },
);

test("frames that are dropped, repeated and put in another order", () => {
  const frames = soundFrames();
  const order = fc.array(fc.nat(frames.length - 1), { maxLength: 40 });
  fc.assert(
    fc.property(order, (indexes) => {
      const chosen = indexes.map((index, sequence) => {
        const frame = frames[index]!.slice();
        setFrameSequence(frame, 0, sequence);
        return frame;
      });
      expectHandled(join(frames[0]!, frames[1]!, ...chosen));
    }),
    { numRuns: RUNS },
  );
});

test("streams that are cut and continued by others", () => {
  const bytes = join(...soundFrames());
  const piece = fc.tuple(fc.nat(bytes.length), fc.nat(bytes.length));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const parts = pieces.map(([a, b]) => bytes.subarray(Math.min(a, b), Math.max(a, b)));
      expectHandled(join(...parts, bytes));
    }),
    { numRuns: RUNS },
  );
});
