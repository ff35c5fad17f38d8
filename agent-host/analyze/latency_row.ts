// LatencyRow: what is known of one pair of events (start => end), for all keys or for one.
//
// LatencyRows finds the row of a pair; with `perInstance` there is one per pair and key, up to a
// limit, beyond which further keys share one row.

import { Histogram } from "../../shared/hist/histogram.ts";
import type { Doubt } from "./doubts.ts";
import { KeyTable } from "./key_table.ts";

/** Rows for single keys, of all pairs together: 16 MB when latencies span eight octaves. */
export const INSTANCES_MAX = 4096;

/** One line of the latency table. Latencies are in host TSC cycles. */
export class LatencyRow {
  /** Indexes of the events. */
  readonly start: number;
  readonly end: number;
  /** The key's words; undefined when the row is for all keys, or for those beyond INSTANCES_MAX. */
  readonly instance: { readonly lo: number; readonly hi: number } | undefined;
  readonly isOther: boolean;
  readonly latencies = new Histogram();
  /** Latencies above the threshold. */
  over = 0;
  /** Latencies smaller than the bound of the two clocks: not told from zero. */
  withinBound = 0;
  /** Of these: the end was stamped before the start. They count as 0. */
  reversed = 0;
  /** Ends stamped before their start by more than the bound, and by how much at most. */
  violations = 0;
  violationCyclesMax = 0;
  /** Pairs left out because events were lost between start and end, and the longest of them. */
  leftOut = 0;
  leftOutCyclesMax = 0;
  /** The largest clock bound of a pair. */
  boundCyclesMax = 0;
  /** When the latest pair ended. */
  latestCycles = Number.NEGATIVE_INFINITY;
  /** The machines that events came from. */
  readonly machines = new Set<number>();
  #startMachine = -1;
  #endMachine = -1;

  constructor(start: number, end: number, instance?: { lo: number; hi: number }, isOther = false) {
    this.start = start;
    this.end = end;
    this.instance = instance;
    this.isOther = isOther;
  }

  /** Whether anything happened since reset(). */
  get isEmpty(): boolean {
    return this.latencies.count === 0 && this.violations === 0 && this.leftOut === 0;
  }

  /** Notes where a pair came from; nearly always from where the last one did. */
  noteMachines(start: number, end: number): void {
    if (start === this.#startMachine && end === this.#endMachine) return;
    this.#startMachine = start;
    this.#endMachine = end;
    this.machines.add(start);
    this.machines.add(end);
  }

  /** Pairs that were counted already may rest on times that are in doubt. */
  doubt({ machine, fromCycles, extraCycles, isWithin }: Doubt): void {
    const isTouched = this.machines.has(machine) && this.latestCycles >= fromCycles;
    if (isTouched && (isWithin || this.machines.size > 1)) this.boundCyclesMax += extraCycles;
  }

  /** Empties the row for the next interval. */
  reset(): void {
    this.#startMachine = -1;
    this.#endMachine = -1;
    this.latencies.reset();
    this.over = 0;
    this.withinBound = 0;
    this.reversed = 0;
    this.violations = 0;
    this.violationCyclesMax = 0;
    this.leftOut = 0;
    this.leftOutCyclesMax = 0;
    this.boundCyclesMax = 0;
    this.latestCycles = Number.NEGATIVE_INFINITY;
    this.machines.clear();
  }
}

interface PairRows {
  readonly whole: LatencyRow;
  readonly instances: KeyTable;
  readonly rows: LatencyRow[];
  other: LatencyRow | undefined;
}

/** All rows of an analysis. */
export class LatencyRows {
  readonly #isPerInstance: boolean;
  readonly #seed: number;
  readonly #instancesMax: number;
  readonly #pairs = new Map<number, PairRows>();
  #instances = 0;
  /** Chains of two stages ask for the same pair again and again. */
  #lastPair = -1;
  #last: PairRows | undefined;

  constructor(isPerInstance: boolean, seed: number, instancesMax: number = INSTANCES_MAX) {
    this.#isPerInstance = isPerInstance;
    this.#seed = seed;
    this.#instancesMax = instancesMax;
  }

  /** The row of a pair with a key. */
  row(start: number, end: number, keyLo: number, keyHi: number): LatencyRow {
    const pair = start * 65536 + end;
    let rows = this.#last;
    if (pair !== this.#lastPair || rows === undefined) {
      rows = this.#pairs.get(pair) ?? this.#add(pair, start, end);
      this.#last = rows;
      this.#lastPair = pair;
    }
    return this.#isPerInstance ? this.#instance(rows, keyLo, keyHi) : rows.whole;
  }

  /** The rows in which something happened, by key (unsigned), then by start and end event. */
  list(): LatencyRow[] {
    const rows: LatencyRow[] = [];
    for (const pair of this.#pairs.values()) {
      rows.push(pair.whole, ...pair.rows);
      if (pair.other !== undefined) rows.push(pair.other);
    }
    return rows.filter((row) => !row.isEmpty).sort(compareRows);
  }

  /** Begins a new interval. Instances are forgotten, so that each interval has its own. */
  reset(): void {
    this.#instances = 0;
    for (const pair of this.#pairs.values()) {
      pair.whole.reset();
      pair.instances.clear();
      pair.rows.length = 0;
      pair.other = undefined;
    }
  }

  #add(pair: number, start: number, end: number): PairRows {
    const rows = {
      whole: new LatencyRow(start, end),
      instances: new KeyTable(this.#instancesMax, this.#seed, () => {}),
      rows: [],
      other: undefined,
    };
    this.#pairs.set(pair, rows);
    return rows;
  }

  #instance(pair: PairRows, lo: number, hi: number): LatencyRow {
    const { start, end } = pair.whole;
    const known = pair.instances.find(lo, hi);
    if (known >= 0) return pair.rows[known]!;
    const entry = this.#instances < this.#instancesMax ? pair.instances.put(lo, hi) : -1;
    if (entry < 0) {
      pair.other ??= new LatencyRow(start, end, undefined, true);
      return pair.other;
    }
    this.#instances++;
    const row = new LatencyRow(start, end, { lo, hi });
    pair.rows[entry] = row;
    return row;
  }
}

function compareRows(a: LatencyRow, b: LatencyRow): number {
  const byPair = a.start - b.start || a.end - b.end;
  if (a.instance === undefined || b.instance === undefined) {
    return (a.instance === undefined ? 1 : 0) - (b.instance === undefined ? 1 : 0) || byPair;
  }
  return a.instance.hi - b.instance.hi || a.instance.lo - b.instance.lo || byPair;
}
