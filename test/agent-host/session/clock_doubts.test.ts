/** What a step of a machine's clocks puts in doubt, and who is told of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import type { Doubt } from "../../../agent-host/analyze/doubts.ts";
import { Pairing } from "../../../agent-host/analyze/pairing.ts";
import { Source } from "../../../agent-host/link/source.ts";
import {
  ClockDoubts,
  STEPS_TOLD_MAX,
  type TimeLine,
} from "../../../agent-host/session/clock_doubts.ts";
import { Guest } from "../../../agent-host/session/guest.ts";
import { MachineRings } from "../../../agent-host/session/machine_rings.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { readTsc } from "../../../shared/sys/clock.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import {
  FAKE_EVENT,
  fakeHello,
  fittedClockSample,
  join,
  markerRecord,
  recording,
} from "../support/guest_stream.ts";

describe("ClockDoubts.since()", () => {
  const line: TimeLine = { hz: 3e9, kind: "guest" };
  const step = { fromCycles: 100, apartCycles: 1000, isWithin: false };

  function fixture() {
    const session = new Session(undefined);
    session.setAnchorOnce(readTsc());
    const told: string[] = [];
    const found: Doubt[] = [];
    session.onDoubt = (doubt) => found.push(doubt);
    const rings = new MachineRings(session, 1);
    return { found, told, doubts: new ClockDoubts(session, 1, rings, (text) => told.push(text)) };
  }

  test("a second, smaller step soon after the first one is told, too", () => {
    const { doubts, found, told } = fixture();
    doubts.since(step, line);
    doubts.since({ ...step, fromCycles: 200, apartCycles: 900 }, line);
    expect(found.map(({ extraCycles }) => extraCycles)).toEqual([1000, 900]);
    expect(found[1]!.toCycles).toBeGreaterThan(found[0]!.toCycles);
    expect(told.length).toBe(2);
  });

  test("of a recording nothing is in doubt that has not been converted", () => {
    const { doubts, found, told } = fixture();
    doubts.since(step, { hz: 3e9, kind: "recorded" });
    expect([found, told]).toEqual([[], []]);
  });

  test("a relation that was never true puts all in doubt, and says so", () => {
    const { doubts, found, told } = fixture();
    doubts.since({ ...step, fromCycles: -Infinity }, line);
    expect(found[0]!.fromCycles).toBe(-Infinity);
    expect(told[0]).toMatch(
      /^WARNING: guest 1: what related .* was false: .* off by up to 0.0 ms$/,
    );
  });

  test("clocks that step all the time are told of in text for so many times only", () => {
    const { doubts, found, told } = fixture();
    for (let i = 0; i < 2 * STEPS_TOLD_MAX; i++) doubts.since(step, line);
    expect([found.length, told.length]).toEqual([2 * STEPS_TOLD_MAX, STEPS_TOLD_MAX]);
  });
});

describe("a recording over a pause of its machine", () => {
  /** 2 GHz; the clock stands still for so long, the TSC does not. */
  const PAUSE_CYCLES = 1_000_000_000n;
  const BEFORE_NS = 5_200_000_000;
  const AFTER_NS = 5_400_000_000;
  let workspace: Workspace;

  beforeAll(() => {
    workspace = new Workspace();
  });

  afterAll(() => workspace.dispose());

  type Kind = "fitted" | "exact";

  function sampleAt(kind: Kind, ns: bigint, aside: bigint) {
    const tsc = 2n * ns + aside;
    const sample = { ...fittedClockSample(ns), realtimeTsc: tsc };
    const page = { timeZero: BigInt.asUintN(64, -aside / 2n), mult: 2 ** 23, shift: 24 };
    const bracket = { tscBefore: tsc - 40n, perfNs: ns, tscAfter: tsc + 40n };
    return kind === "exact"
      ? { ...sample, conversion: { $case: kind, value: page } }
      : { ...sample, conversion: { $case: kind, value: bracket } };
  }

  /** The bound of the pair across the pause, converted before its end was read, or after that. */
  function boundOf(
    kind: Kind,
    isLate: boolean,
  ): { readonly bound: number; readonly told: readonly string[] } {
    const path = workspace.file(`pause-${kind}-${isLate}.vms`);
    const { writer } = recording([]);
    const clock = (ns: bigint) => writer.frame(FrameType.CLOCK_SAMPLE, sampleAt(kind, ns, 0n));
    const span = [...markerRecord(BEFORE_NS, 7), ...markerRecord(AFTER_NS, 7)];
    const before = [
      writer.frame(FrameType.HELLO, fakeHello()),
      ...[1n, 2n, 3n, 4n, 5n].map((s) => clock(s * 1_000_000_000n)),
      writer.samples(0, 0, span),
      writer.frame(FrameType.PROGRESS, { tsc: 2n * BigInt(AFTER_NS) + PAUSE_CYCLES }),
    ];
    const after = sampleAt(kind, 6_000_000_000n, PAUSE_CYCLES);
    if (isLate) before.push(writer.frame(FrameType.CLOCK_SAMPLE, after));
    writeFileSync(path, join(...before, writer.goodbye()));

    const told: string[] = [];
    const session = new Session(undefined);
    const pairing = new Pairing({
      stages: [[0]],
      isCycle: true,
      isPerInstance: false,
      bounds: new ClockBounds(),
      seed: 1,
      thanCycles: Infinity,
    });
    session.sink = (chunk, from, to) => pairing.run(chunk, from, to);
    session.onDoubt = (doubt) => pairing.doubt(doubt);
    const wanted = [{ stage: 0, spec: parseEventSpecs(`${FAKE_EVENT}//key=value/`)[0]! }];
    const source = new Source({ kind: "file", name: path, path });
    const guest = new Guest(session, 1, source, wanted, undefined, {
      ringBytes: 4096,
      callChains: false,
      key: undefined,
      agentVersion: "test",
      printsEvents: true,
      onStatus: (text) => told.push(text),
    });
    while (!guest.hasEnded) guest.link.receive(0);
    guest.settle();
    session.merger.release();
    expect(pairing.rows.list().length).toBe(isLate ? 0 : 1);
    if (!isLate) guest.onClockSample(after);
    session.merger.flush();
    guest.close();
    return { bound: pairing.rows.list()[0]!.boundCyclesMax, told };
  }

  test.each([
    ["fitted", false],
    ["fitted", true],
    ["exact", false],
    ["exact", true],
  ] as const)("bounds a latency by it (%s clock, all of it read at once: %p)", (kind, isLate) => {
    const { bound, told } = boundOf(kind, isLate);
    expect(bound).toBeGreaterThanOrEqual(Number(PAUSE_CYCLES) - 100);
    const warnings = told.filter((text) => text.startsWith("WARNING: guest 1: its clock stepped"));
    expect(warnings.length).toBe(isLate ? 0 : 1);
  });
});
