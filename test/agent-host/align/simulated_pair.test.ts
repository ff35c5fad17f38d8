/**
 * A host and a guest in integers, with every source of error that the tool claims to bound: unequal
 * delays, unknown rates, rounding clocks, written TSCs, suspended clocks. What the whole chain
 * (readings, round trips or debugfs, composition) says of each event is held against the truth.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { GuestAlignment } from "../../../agent-host/align/alignment.ts";
import type { ClockStep } from "../../../agent-host/align/clock_step.ts";
import { GuestTimeMap } from "../../../agent-host/align/guest_time_map.ts";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";
import {
  ExactPerfClock,
  type PerfConversion,
  perfConversion,
  perfNsOfTsc,
} from "../../../shared/tsc/perf_to_tsc.ts";
import { guestTsc, hostTsc } from "../../../shared/tsc/tsc.ts";
import { ClockProof } from "../../clock_proof.ts";
import { perNight } from "../../nightly.ts";

/** Rounds before the first step: a step is told from a rate only by who knows the rate. */
const ROUNDS_QUIET = 10;
/** Rounds between steps, so that each is over before the next. */
const ROUNDS_BETWEEN = 8;
/** Scripts of rounds that are played. */
const RUNS = perNight(300, 10_000);
/** Of a host of 3 GHz, for printing. */
const NS_PER_CYCLE = 1 / 3;

type Source = "ping" | "kvm polled" | "kvm traced";
type Step = "tsc" | "clock" | "both" | "none";

interface Round {
  readonly gap: bigint;
  readonly there: bigint;
  readonly back: bigint;
  readonly bracket: bigint;
  readonly pingFirst: boolean;
  readonly isPolled: boolean;
  readonly stepAt: number;
  readonly step: Step;
  readonly tscJump: bigint;
  readonly clockJumpNs: bigint;
  readonly events: readonly number[];
}

interface Setting {
  readonly source: Source;
  readonly start: bigint;
  readonly offset: bigint;
  /** Guest over host rate, in 1/2^48. */
  readonly ratio: bigint;
  /** ns per guest cycle, in 1/2^24. */
  readonly mult: bigint;
}

const jump = fc.oneof(
  fc.bigInt({ min: 1n << 15n, max: 1n << 22n }),
  fc.bigInt({ min: 1n << 22n, max: 1n << 32n }),
  fc.bigInt({ min: 1n << 53n, max: 1n << 62n }),
);

const round: fc.Arbitrary<Round> = fc.record({
  gap: fc.bigInt({ min: 150_000_000n, max: 3_000_000_000n }),
  there: fc.bigInt({ min: 500n, max: 1_000_000n }),
  back: fc.bigInt({ min: 500n, max: 1_000_000n }),
  bracket: fc.bigInt({ min: 0n, max: 2_000n }),
  pingFirst: fc.boolean(),
  isPolled: fc.boolean(),
  stepAt: fc.double({ min: 0, max: 1, noNaN: true }),
  step: fc.constantFrom<Step>("tsc", "clock", "both", "none"),
  tscJump: fc.tuple(jump, fc.boolean()).map(([size, back]) => (back ? -size : size)),
  clockJumpNs: fc.bigInt({ min: 1n << 15n, max: 1n << 40n }),
  events: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
});

const setting = (sources: readonly Source[]): fc.Arbitrary<Setting> =>
  fc.record({
    source: fc.constantFrom(...sources),
    start: fc.bigInt({ min: 1n << 40n, max: 1n << 60n }),
    offset: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
    ratio: fc.oneof(
      fc.constant(1n << 48n),
      fc.bigInt({ min: (1n << 48n) - (1n << 36n), max: (1n << 48n) + (1n << 36n) }),
      fc.bigInt({ min: 1n << 46n, max: 1n << 49n }),
    ),
    mult: fc.bigInt({ min: 3_355_443n, max: 20_000_000n }),
  });

interface StampedEvent {
  readonly ns: bigint;
  readonly truth: bigint;
  /** No step was under way: the live conversion must hold by itself. */
  readonly isQuiet: boolean;
  /** What was made of it as it came; undefined before the clocks were known. */
  readonly live: { readonly cycles: number; readonly boundCycles: number } | undefined;
}

/** Both machines; `now` is the host's TSC and the truth. */
class World {
  now: bigint;
  offset: bigint;
  clockJumpNs = 0n;
  readonly setting: Setting;
  readonly #clockStart: bigint;

  constructor(setting: Setting) {
    this.setting = setting;
    this.now = setting.start;
    this.offset = setting.offset;
    this.#clockStart = (setting.start * setting.ratio) >> 48n;
  }

  guest() {
    const scaled = (this.now * this.setting.ratio) >> 48n;
    return guestTsc(BigInt.asUintN(64, scaled + this.offset));
  }

  /** A clock of the guest that a written TSC does not disturb, as KVM keeps kvm-clock. */
  rawNs(): bigint {
    const ticks = ((this.now * this.setting.ratio) >> 48n) - this.#clockStart;
    return 1_000_000n + ((ticks * this.setting.mult) >> 24n) + this.clockJumpNs;
  }

  relation() {
    const { ratio } = this.setting;
    return ratio === 1n << 48n ? tscRelation(this.offset) : tscRelation(this.offset, ratio, 48);
  }
}

/** The tool's side: one guest with one CPU. */
class Tool {
  readonly alignment: GuestAlignment;
  readonly clock: FittedPerfClock | ExactPerfClock;
  readonly chain = new GuestTimeMap();
  readonly #world: World;
  readonly #conversion: PerfConversion | undefined;
  #clockReadings = 0;
  #clockEpoch = 0;
  #clockNs = 0n;
  /** Steps that were found, and where the host's time was then. */
  readonly doubts: { readonly step: ClockStep; readonly foundAt: bigint }[] = [];

  constructor(world: World, conversion: PerfConversion | undefined) {
    this.#world = world;
    this.#conversion = conversion;
    this.clock = conversion === undefined ? new FittedPerfClock() : new ExactPerfClock();
    const wanted = world.setting.source === "ping" ? "ping" : "auto";
    this.alignment = new GuestAlignment({ wanted, hostAnchor: hostTsc(world.now) });
    this.alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    this.poll();
  }

  eventNs(): bigint {
    const world = this.#world;
    return this.#conversion === undefined
      ? world.rawNs()
      : perfNsOfTsc(this.#conversion, world.guest());
  }

  poll(): void {
    const world = this.#world;
    if (world.setting.source === "ping") return;
    const relation = world.relation();
    const vcpu = { apicId: 0, relation, isNested: false, threadId: undefined };
    this.alignment.setKvm("kvm/1-2", [vcpu], hostTsc(world.now));
  }

  read({ bracket }: Round): void {
    const world = this.#world;
    this.#clockReadings++;
    if (this.clock instanceof ExactPerfClock) {
      this.#clockNs = this.eventNs();
      this.clock.update(this.#conversion!, this.#clockNs);
      return;
    }
    const tscBefore = world.guest();
    world.now += bracket / 3n;
    this.#clockNs = world.rawNs();
    world.now += bracket - bracket / 3n;
    this.clock.add({ tscBefore, ns: this.#clockNs, tscAfter: world.guest() });
    if (this.clock.epoch !== this.#clockEpoch) this.alignment.onClockStep();
    this.#clockEpoch = this.clock.epoch;
    this.refresh();
    this.pollIfWanted();
  }

  ping({ there, back }: Round): void {
    const world = this.#world;
    const hostSent = hostTsc(world.now);
    world.now += there;
    const guestReceived = world.guest();
    world.now += 100n;
    const guestSent = world.guest();
    world.now += back;
    const hostReceived = hostTsc(world.now);
    this.alignment.addRoundTrip({ hostSent, guestReceived, guestSent, hostReceived });
    this.refresh();
    this.pollIfWanted();
  }

  pollIfWanted(): void {
    if (this.alignment.wantsKvmReading) this.poll();
    this.refresh();
  }

  refresh(): void {
    this.chain.update({
      clock: this.clock.map,
      isClockExact: this.#conversion !== undefined,
      clockReadings: this.#clockReadings,
      clockNs: this.#clockNs,
      alignment: this.alignment.mapFor(0),
      alignmentMethod: this.alignment.method,
      alignmentReadings: this.alignment.readingCount,
    });
    const step = this.chain.takeStep();
    if (step !== undefined) this.doubts.push({ step, foundAt: this.#world.now });
  }
}

function makeStep(world: World, tool: Tool, { step, tscJump, clockJumpNs }: Round): void {
  if (step === "clock" || step === "both") world.clockJumpNs += clockJumpNs;
  // Clock and TSC may not jump as one, which is a pause that no clock of the guest can show.
  const clockCycles = (clockJumpNs << 24n) / world.setting.mult;
  const apart = Number(tscJump - clockCycles);
  if (step === "both" && Math.abs(apart) < 1 << 17) world.clockJumpNs += 1n << 20n;
  if (step === "clock" || step === "none") return;
  const previous = world.offset;
  world.offset = BigInt.asIntN(64, previous + tscJump);
  if (world.setting.source === "kvm traced") {
    tool.alignment.onKvmWrite(0, previous, world.offset, hostTsc(world.now));
    tool.pollIfWanted();
  }
}

/** The guest's TSC and this oracle round down to whole cycles, up to two of the host's each. */
const ORACLE_CYCLES = 4;

/** Error and bound of an event by the map as it is now. */
function check(tool: Tool, event: StampedEvent, start: bigint, proof?: ClockProof): void {
  const { cycles, boundCycles } = tool.chain.map.convert(event.ns);
  const truth = Number(event.truth - start);
  const [low, high] = [truth - ORACLE_CYCLES, truth + ORACLE_CYCLES];
  proof?.count(cycles, boundCycles, low, high, NS_PER_CYCLE);
  expect(Math.abs(cycles - truth)).toBeLessThanOrEqual(boundCycles + ORACLE_CYCLES);
}

/**
 * Error and bound of an event as it was converted when it came, with what was found out later: it
 * had been converted by then, and lay behind what was known to hold.
 */
function checkLive(
  tool: Tool,
  { live, truth }: StampedEvent,
  start: bigint,
  proof: ClockProof,
): void {
  if (live === undefined) return;
  const covering = tool.doubts.filter(
    ({ step, foundAt }) => foundAt >= truth && live.cycles >= step.fromCycles,
  );
  const extra = Math.max(0, ...covering.slice(0, 1).map(({ step }) => step.apartCycles));
  const bound = live.boundCycles + extra;
  const at = Number(truth - start);
  proof.count(live.cycles, bound, at - ORACLE_CYCLES, at + ORACLE_CYCLES, NS_PER_CYCLE);
  expect(Math.abs(live.cycles - at)).toBeLessThanOrEqual(bound + ORACLE_CYCLES);
}

/** Plays the rounds; returns all events. Live conversions of quiet times are checked on the way. */
function play(world: World, tool: Tool, rounds: readonly Round[]): StampedEvent[] {
  const start = world.now;
  const events: StampedEvent[] = [];
  let quietRounds = 0;
  rounds.forEach((round, i) => {
    const canStep = i >= ROUNDS_QUIET && i < rounds.length - ROUNDS_BETWEEN;
    const steps = canStep && quietRounds >= ROUNDS_BETWEEN && round.step !== "none";
    quietRounds = steps ? 0 : quietRounds + 1;
    const begin = world.now;
    const moments = round.events.map((at) => ({ at, isStep: false }));
    if (steps) moments.push({ at: round.stepAt, isStep: true });
    moments.sort((a, b) => a.at - b.at);
    for (const { at, isStep } of moments) {
      world.now = begin + BigInt(Math.floor(at * Number(round.gap)));
      if (isStep) {
        makeStep(world, tool, round);
        continue;
      }
      const isQuiet = quietRounds > ROUNDS_BETWEEN;
      const ns = tool.eventNs();
      const live = tool.chain.map.newest && tool.chain.map.convert(ns);
      const event = { ns, truth: world.now, isQuiet, live };
      events.push(event);
      if (isQuiet && tool.chain.map.newest !== undefined) check(tool, event, start);
    }
    world.now = begin + round.gap;
    if (round.pingFirst) tool.ping(round);
    tool.read(round);
    if (!round.pingFirst) tool.ping(round);
    if (round.isPolled || i === rounds.length - 1) tool.poll();
    tool.refresh();
  });
  return events;
}

const rounds = fc.array(round, { minLength: 30, maxLength: 60 });

describe("simulated pair", () => {
  test("fitted clock: every event of the session within its bound, through every kind of step", () => {
    const proof = new ClockProof("simulated pair, fitted clock");
    const live = new ClockProof("simulated pair, fitted clock, as converted live");
    fc.assert(
      fc.property(setting(["ping", "kvm polled", "kvm traced"]), rounds, (s, script) => {
        const world = new World(s);
        const tool = new Tool(world, undefined);
        const start = world.now;
        for (const event of play(world, tool, script)) {
          check(tool, event, start, proof);
          checkLive(tool, event, start, live);
        }
        expect(tool.chain.isPending).toBe(false);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
    proof.report(1000);
    live.report(1000);
  });

  test("exact clock: written TSCs move perf time itself, every event within its bound", () => {
    const proof = new ClockProof("simulated pair, exact clock");
    const live = new ClockProof("simulated pair, exact clock, as converted live");
    fc.assert(
      fc.property(setting(["ping", "kvm polled", "kvm traced"]), rounds, (s, script) => {
        // A guest that has just booted: its perf time does not wrap.
        const booted = { ...s, offset: 1_000_000n - ((s.start * s.ratio) >> 48n) };
        const world = new World(booted);
        const tool = new Tool(world, perfConversion(777n, Number(s.mult), 24));
        const start = world.now;
        // Forward, and further than round trips can hide: there is no second clock to tell.
        const forward = script.map((r) => ({
          ...r,
          step: r.step === "none" ? r.step : ("tsc" as const),
          tscJump: (BigInt.asUintN(48, r.tscJump) >> 4n) + (1n << 23n),
        }));
        for (const event of play(world, tool, forward)) {
          check(tool, event, start, proof);
          checkLive(tool, event, start, live);
        }
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
    proof.report(1000);
    live.report(1000);
  });
});
