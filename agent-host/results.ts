/**
 * What a run prints: lines or tables while it goes, the clock's relation and the ledger at the end.
 * Makes the command's consumer out of the session, once everything about the session is known.
 */
import { Output } from "../shared/cli/output.ts";
import { ByteWriter } from "../shared/text/byte_writer.ts";
import { formatAlignment } from "./align/alignment_description.ts";
import { ClockBounds } from "./analyze/clock_bounds.ts";
import { ClosestPairs } from "./analyze/closest_pairs.ts";
import { DETAIL_ALL, type DetailOptions } from "./analyze/detail.ts";
import type { EventView } from "./analyze/event_view.ts";
import { Pairing } from "./analyze/pairing.ts";
import type { SlowPair } from "./analyze/slow_pairs.ts";
import { clockNotes, type NotedMachine } from "./clock_notes.ts";
import type { Consumer } from "./consumer.ts";
import { parseDetail } from "./detail_option.ts";
import { DumpConsumer } from "./dump_consumer.ts";
import { makePrinter } from "./event_printer.ts";
import type { Machines } from "./machines.ts";
import { PairingConsumer } from "./pairing_consumer.ts";
import { defaultKeyOf, type EngineOrder } from "./protocol.ts";
import { alignmentMembers } from "./report/alignment_json.ts";
import { writeDoubtJson } from "./report/doubt_json.ts";
import { EventJson, type JsonEvent } from "./report/event_json.ts";
import { type FilteredRow, writeFiltered, writeFilteredJson } from "./report/filtered.ts";
import { jsonObject, jsonString } from "./report/json_value.ts";
import { makeLatencyTable } from "./report/latency_table.ts";
import { writeLatencyTable } from "./report/latency_text.ts";
import type { LedgerVerdict } from "./report/ledger.ts";
import { writeLedger, writeVerdict } from "./report/ledger_text.ts";
import { SlowPairText } from "./report/slow_pair_text.ts";
import { tableEvents } from "./report/table_events.ts";
import { writeLatencyJson, writeLedgerJson } from "./report/table_json.ts";
import { TraceLines } from "./report/trace_line.ts";
import { HOST_STRINGS } from "./session/host_strings.ts";
import { machineName } from "./session/machine_name.ts";
import type { Session } from "./session/session.ts";
import type { SessionEvent } from "./session/session_event.ts";
import { SessionFaults } from "./session/session_faults.ts";
import { ledgerOf } from "./session_ledger.ts";
import { ShownBounds } from "./shown_bounds.ts";
import { type TimeDisplay, timeDisplay } from "./time_display.ts";
import { TraceConsumer } from "./trace_consumer.ts";
import { noteTrailingLoss } from "./trailing_loss.ts";

/** Results are written in pieces of this size. */
const OUTPUT_BYTES = 64 * 1024;
/** Between two looks at what pairs say of the clocks. */
const CAUSAL_MS = 100;
const STDOUT = 1;
const STDERR = 2;

export class Report {
  readonly #order: EngineOrder;
  readonly #session: Session;
  readonly #machines: Machines;
  readonly #out: ByteWriter;
  readonly #notes: ByteWriter;
  readonly #bounds = new ClockBounds();
  readonly #closest = new ClosestPairs();
  readonly #shownBounds = new ShownBounds();
  #nextCausalMs = 0;
  /** How times are shown, once there is a consumer. */
  display: TimeDisplay | undefined;
  #pairing: Pairing | undefined;
  /** By event index: how its records are printed. */
  readonly #lineEvents: JsonEvent[] = [];
  readonly #triggers = new Set<number>();
  /** The -e that are the stages of the pairing, in order. */
  #stages: readonly number[] = [];

  constructor(order: EngineOrder, session: Session, machines: Machines) {
    this.#order = order;
    this.#session = session;
    this.#machines = machines;
    const stdout = new Output(STDOUT, "stdout");
    const stderr = new Output(STDERR, "stderr");
    this.#out = new ByteWriter(OUTPUT_BYTES, (bytes) => stdout.write(bytes));
    this.#notes = new ByteWriter(OUTPUT_BYTES, (bytes) => stderr.write(bytes));
  }

  /** The consumer of the command. All machines must be ready. */
  consumer(): Consumer {
    const { guests, local } = this.#machines;
    const ready = guests.filter(({ isReady }) => isReady);
    const guestsShowTsc = local === undefined && ready.every(({ hello }) => hello?.tscDisplay);
    const isTsc = this.#order.isTscDisplay || (guests.length > 0 && guestsShowTsc);
    const display = timeDisplay(this.#machines, this.#session.anchor, isTsc);
    this.display = display;
    const options = {
      wall: display.wall,
      clock: display.clock,
      events: this.#lineEvents,
      machines: this.#lineMachines(),
      isTsc,
      get nsPerCycle(): number {
        return display.nsPerCycle;
      },
    };
    const lines = new TraceLines(options);
    const json = new EventJson(options);
    this.#session.onDoubt = (doubt) => {
      this.#pairing?.doubt(doubt);
      if (!this.#order.isJson) return;
      writeDoubtJson(this.#out, options, machineName(doubt.machine), doubt);
    };
    const writeEvent = (view: EventView): void => {
      this.#shownBounds.note(view);
      if (this.#order.isJson) json.writeEvent(this.#out, view);
      else lines.write(this.#out, view);
    };
    if (this.#order.command !== "multi-trace") {
      this.admitEvents();
      return new TraceConsumer(this.#out, writeEvent, this.#order.eventsMax);
    }
    const slowText = new SlowPairText(lines, display.unit);
    const writeSlowPair = (pair: SlowPair): void => {
      if (this.#order.isJson) json.writeSlowPair(this.#out, pair);
      else slowText.write(this.#out, pair);
    };
    const consumer = this.#pairingConsumer(writeSlowPair, writeEvent, display);
    this.admitEvents();
    if (this.#order.dumpsOnThan !== true) return consumer;
    const recorders = guests.filter(({ isFlight }) => isFlight).map(({ machine }) => machine);
    return new DumpConsumer(consumer, recorders, writeEvent);
  }

  /** Writes out what has been printed so far. */
  flush(): void {
    this.#out.flush();
  }

  /** The time of day of a canonical time, in ns; undefined before the clocks are known. */
  wallNs(cycles: number): bigint | undefined {
    return this.display?.wall.scale.exact(cycles);
  }

  /** Takes in the events that are known by now: a guest that was late brings its own later. */
  admitEvents(): void {
    const { list } = this.#session.events;
    for (let index = this.#lineEvents.length; index < list.length; index++) {
      this.#admit(list[index]!);
    }
  }

  #admit({ index, stage, spec, system, label, format, machine, isByCpu }: SessionEvent): void {
    const symbols = this.#machines.symbolsOf(machine);
    const info = makePrinter(format, symbols, machine === 0 ? HOST_STRINGS : undefined);
    this.#lineEvents.push({ system, label, format, info });
    const { untraced, trigger, role } = spec.attributes;
    if (trigger !== undefined) this.#triggers.add(index);
    const place = this.#stages.indexOf(stage);
    if (untraced === true || place < 0) return;
    this.#pairing?.addEvent(index, place, role !== undefined, isByCpu);
  }

  /**
   * After the consumer: how the clocks were related, where every event went, and what was wrong
   * with the sources. Gives the verdict on the ledger.
   */
  finish(): LedgerVerdict {
    const ledger = ledgerOf(this.#machines, (cycles) => this.wallNs(cycles));
    const faults = new SessionFaults(this.#session, this.#machines.guests);
    if (this.#order.isJson) {
      if (this.#order.command === "multi-trace") this.#writeAlignmentJson();
      writeLedgerJson(this.#out, ledger);
      writeFilteredJson(this.#out, this.#filtered());
      faults.writeJson(this.#out);
      this.#out.flush();
      return ledger.verdict;
    }
    this.#shownBounds.writeText(this.#notes, this.#machines.guests, this.display!.unit);
    const isLossless = ledger.verdict.lostKernel + ledger.verdict.dropped === 0;
    // Lines are what a trace is for: beside them only what the user must know.
    const isWhole = isLossless && ledger.ended.length === 0;
    const isBrief = this.#order.command !== "multi-trace" && isWhole;
    if (!isBrief) this.#writeAlignment();
    if (isBrief && ledger.verdict.state !== "unbalanced") writeVerdict(this.#notes, ledger);
    else writeLedger(this.#notes, ledger);
    writeFiltered(this.#notes, this.#filtered());
    faults.writeText(this.#notes);
    this.#notes.flush();
    return ledger.verdict;
  }

  #writeAlignment(): void {
    const tscHz = 1e9 / this.display!.nsPerCycle;
    for (const { time, machine } of this.#machines.guests) {
      if (time === undefined) continue;
      for (const line of formatAlignment(time.alignment.describe(), tscHz)) {
        this.#notes.ascii(`${machineName(machine)}: ${line}\n`);
      }
    }
  }

  #writeAlignmentJson(): void {
    const { nsPerCycle } = this.display!;
    for (const { time, machine, boundCycles } of this.#machines.guests) {
      if (time === undefined) continue;
      const members = alignmentMembers(
        time.alignment.describe(),
        1e9 / nsPerCycle,
        () => boundCycles * nsPerCycle,
      );
      const name = jsonString(machineName(machine));
      this.#out.ascii(`${jsonObject({ type: '"alignment"', machine: name, ...members })}\n`);
    }
  }

  #lineMachines() {
    const { guests, local } = this.#machines;
    const noNames = { get: () => undefined };
    return [
      {
        name: machineName(0),
        isGuest: false,
        names: local?.rings.names ?? noNames,
        symbols: local?.symbols,
      },
      ...guests.map(({ rings, machine, symbols }) => ({
        name: machineName(machine),
        isGuest: true,
        names: rings.names,
        symbols,
      })),
    ];
  }

  #pairingConsumer(
    writeSlowPair: (pair: SlowPair) => void,
    writeEvent: (view: EventView) => void,
    display: TimeDisplay,
  ): Consumer {
    const order = this.#order;
    const thanCycles = order.thanNs === 0 ? Infinity : order.thanNs / display.nsPerCycle;
    const onSlowPair = (pair: SlowPair): void => {
      writeSlowPair(pair);
      // What may be no pair is shown, and is no reason for an alarm: the table leaves it out, too.
      if (pair.spansLoss) return;
      consumer.hasCrossed = true;
      if (order.dumpsOnThan === true) this.#askForDumps();
    };
    const detail: DetailOptions | undefined =
      order.detail === undefined
        ? undefined
        : order.detail === ""
          ? DETAIL_ALL
          : parseDetail(order.detail, display.nsPerCycle);
    this.#stages = this.#tracedStages();
    const pairing = new Pairing({
      stages: this.#stages.map(() => []),
      isCycle: order.isCycle,
      isPerInstance: order.isPerInstance,
      bounds: this.#bounds,
      losses: this.#session.losses,
      ...(this.#machines.guests.some(({ time }) => time !== undefined)
        ? { closest: this.#closest }
        : {}),
      seed: crypto.getRandomValues(new Uint32Array(1))[0]!,
      thanCycles,
      ...(order.thanNs === 0 ? {} : { onSlowPair }),
      ...(detail === undefined ? {} : { detail }),
    });
    this.#pairing = pairing;
    const consumer = new PairingConsumer(this.#out, pairing, {
      intervalCycles: (order.intervalMs * 1e6) / display.nsPerCycle,
      eventsMax: order.eventsMax,
      refreshBounds: () => this.#refreshBounds(),
      triggers: this.#triggers,
      writeEvent,
      writeTable: (out, cycles, isLast) => this.#writeTable(out, cycles, thanCycles, isLast),
    });
    return consumer;
  }

  #askForDumps(): void {
    for (const { link, isFlight } of this.#machines.guests) {
      if (isFlight) link.dump.ask(performance.now());
    }
  }

  /** The -e that take part: not those that only add to --detail. */
  #tracedStages(): number[] {
    const known = this.#session.events.list
      .filter(({ spec }) => spec.attributes.untraced !== true)
      .map(({ stage }) => stage);
    // The events of a guest that is late are not known yet.
    const late = this.#machines.guests
      .filter(({ hasEnded, isReady }) => !hasEnded && !isReady)
      .flatMap(({ events }) => events.tracedStages);
    return [...new Set([...known, ...late])].sort((a, b) => a - b);
  }

  /** printkey= of the start, or else of the end. */
  #keyText(start: number, end: number, lo: number, hi: number): string | undefined {
    const { list } = this.#session.events;
    const printer = list[start]?.keyPrinter ?? list[end]?.keyPrinter;
    return printer?.print(lo, hi);
  }

  #filtered(): FilteredRow[] {
    const rejected = this.#session.events.filtered.map(({ event, rejected }) => ({
      machine: machineName(event.machine),
      event: `${event.system}:${event.name}`,
      events: rejected,
    }));
    const others = this.#machines.guests.map(({ machine, rings }) => ({
      machine: machineName(machine),
      event: undefined,
      events: rings.decoded("unknownEvents"),
    }));
    return [...rejected, ...others.filter(({ events }) => events > 0)];
  }

  /** What is known now, for the line under the table; a pair has the bound of its own events. */
  #refreshBounds(): void {
    this.#takeClosest();
    const { guests, hostClock, local } = this.#machines;
    const hostCycles = local?.boundCycles ?? 0;
    // Once for each guest, not for each pair of them: it goes over all its CPUs.
    const bounds = guests.map(({ machine, boundCycles }) => ({ machine, boundCycles }));
    for (const [i, { machine, boundCycles }] of bounds.entries()) {
      if (hostClock !== undefined) this.#bounds.set(0, machine, hostCycles + boundCycles);
      for (const other of bounds.slice(0, i)) {
        this.#bounds.set(other.machine, machine, other.boundCycles + boundCycles);
      }
    }
  }

  /** What the closest pairs of the last CAUSAL_MS say of the clocks. */
  #takeClosest(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextCausalMs) return;
    this.#nextCausalMs = nowMs + CAUSAL_MS;
    for (const pair of this.#closest.take()) {
      this.#machines.guests
        .find(({ machine }) => machine === pair.machine)
        ?.conversion.addPair(pair);
    }
  }

  #writeTable(out: ByteWriter, cycles: number, thanCycles: number, isLast: boolean): void {
    const { unit, wall } = this.display!;
    const pairing = this.#pairing!;
    if (isLast) noteTrailingLoss(this.#machines, pairing.losses);
    const { local, guests } = this.#machines;
    const { list } = this.#session.events;
    const machineOf = (event: number): number => list[event]!.machine;
    const host = local === undefined ? [] : [{ machine: 0, clock: local, time: undefined }];
    const noted: NotedMachine[] = [...host, ...guests];
    const rows = pairing.rows.list();
    const table = makeLatencyTable({
      rows,
      losses: pairing.losses,
      events: tableEvents(list, guests.length > 1),
      date: wall.text(cycles),
      wallNs: wall.scale.exact(cycles),
      unit,
      keyText: (start, end, lo, hi) => this.#keyText(start, end, lo, hi),
      keyName: this.#order.isPerInstance ? this.#keyName() : undefined,
      clocks: clockNotes(noted, this.#bounds, rows, machineOf),
      thanCycles,
      unmatched: isLast ? pairing.counters : undefined,
    });
    if (this.#order.onlyThan && !table.lines.some(({ over }) => over > 0)) return;
    if (this.#order.isJson) writeLatencyJson(out, table);
    else writeLatencyTable(out, table);
  }

  #keyName(): string {
    const [first] = this.#session.events.list;
    return first?.spec.attributes.key ?? defaultKeyOf(this.#order) ?? "key";
  }
}
