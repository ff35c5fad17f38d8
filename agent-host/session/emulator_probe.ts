/**
 * Reads an emulating QEMU's TSC as the guest does (align/emulator_sandwich.ts): for a moment,
 * probes on cpu_get_tsc() stamp every rdtsc of the guest from both sides.
 *
 *   probes    |==|                 |=|                 |=|          one round every ROUND_PAUSE_MS
 *   tick()    ^ ^ ^    ^     ^     ^ ^     ^     ^     ^ ^          opens, drains, closes
 *
 * Each probed rdtsc costs the guest some microseconds, so a round ends with enough readings, or
 * with the time. The rings are small on purpose: what finds no room is not needed. The events are
 * opened on the threads of that process, so that no other process runs into the probes.
 */
import { existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { ElfError, functionFileOffset } from "../../shared/event/elf_symbol.ts";
import { EventSet } from "../../shared/event/event_set.ts";
import { selectCpus } from "../../shared/event/machine.ts";
import { type ResolvedEvent, resolveEvents } from "../../shared/event/resolve.ts";
import type { EventSpec, ProbeKind } from "../../shared/event/spec.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { parseFormat } from "../../shared/tracefs/format.ts";
import { Tracefs, TracefsError } from "../../shared/tracefs/tracefs.ts";
import {
  type CallLayout,
  type CallRecord,
  pairCalls,
  readCalls,
  SANDWICHES_KEPT_MAX,
  sandwichTrip,
} from "../align/emulator_sandwich.ts";
import type { RoundTrip } from "../align/ping.ts";
import { sampleLayout } from "../analyze/sample_layout.ts";
import type { HostClock } from "./host_clock.ts";
import { perfMapOf, takeRecords } from "./private_events.ts";

/** What the guest's rdtsc gets, in every QEMU since 1.0. */
const FUNCTION = "cpu_get_tsc";
/** A round is over with this many readings: the first, and the later ones that only confirm. */
const READINGS_FIRST = SANDWICHES_KEPT_MAX;
const READINGS_LATER = 8;
/** ... or with this time: even pings of a settled session come twice a second. */
const ROUND_MS_MAX = 600;
/**
 * Between rounds that only confirm: the kernel takes 0.2 s to put probes in place and to remove
 * them, during which the engine stands still. Steps show in round trips long before.
 */
const ROUND_PAUSE_MS = 60_000;
/** Where a round trip contradicts: the pause then. */
const ROUND_PAUSE_MS_URGENT = 1_000;
const RING_BYTES = 32 * 1024;
/** Descriptors of a round: two for each thread and CPU. */
const FDS_MAX = 2_048;

/** The emulator's clock cannot be read; `hint` says how to mend it. */
export class EmulatorProbeError extends Error {
  override readonly name = "EmulatorProbeError";
  readonly hint: string;
  constructor(cause: Error & { readonly hint?: string | undefined }) {
    super(cause.message, { cause });
    this.hint = cause.hint ?? "";
  }
}

/** A round under way. */
interface Round {
  readonly set: EventSet;
  readonly layout: CallLayout;
  readonly records: CallRecord[];
  readonly endMs: number;
}

/** Reads the clock of one QEMU process, in rounds. */
export class EmulatorProbe {
  readonly #pid: number;
  readonly #hostClock: HostClock;
  #location: { readonly path: string; readonly offset: number } | undefined;
  #round: Round | undefined;
  #roundCount = 0;
  #endedMs = -Infinity;

  constructor(pid: number, hostClock: HostClock) {
    this.#pid = pid;
    this.#hostClock = hostClock;
  }

  /**
   * Does what is due. Gives the readings of a round that has ended, which may be none; undefined
   * otherwise. Throws EmulatorProbeError; nothing is open then.
   */
  tick(nowMs: number, isUrgent: boolean): RoundTrip[] | undefined {
    try {
      const round = this.#round;
      if (round !== undefined) return this.#continue(round, nowMs);
      const pauseMs = isUrgent ? ROUND_PAUSE_MS_URGENT : ROUND_PAUSE_MS;
      if (nowMs - this.#endedMs >= pauseMs) this.#round = this.#open(nowMs);
      return undefined;
    } catch (error) {
      this.close();
      throw foreseen(error);
    }
  }

  /** Ends a round without its readings. */
  close(): void {
    const round = this.#round;
    this.#round = undefined;
    round?.set.close();
  }

  #open(nowMs: number): Round {
    const cpus = selectCpus(undefined);
    checkSize(this.#pid, cpus.length);
    this.#location ??= locate(this.#pid);
    const { path, offset } = this.#location;
    const specs = [
      probeSpec("uprobe", path, offset, ""),
      probeSpec("uretprobe", path, offset, "tsc=$retval:u64"),
    ];
    const events = resolveEvents(specs, Tracefs.open());
    const set = new EventSet(events, {
      cpus,
      ringBytes: RING_BYTES,
      watermarkBytes: RING_BYTES / 2,
      threadIds: false,
      taskNames: false,
      pid: this.#pid,
      wholeProcess: true,
    });
    try {
      const layout = callLayout(events, set.sampleType);
      set.enable();
      return { set, layout, records: [], endMs: nowMs + ROUND_MS_MAX };
    } catch (error) {
      set.close();
      throw error;
    }
  }

  #continue(round: Round, nowMs: number): RoundTrip[] | undefined {
    const { set, records, layout, endMs } = round;
    for (const { ring } of set.rings) readCalls(takeRecords(ring), layout, records);
    const wanted = 2 * (this.#roundCount === 0 ? READINGS_FIRST : READINGS_LATER);
    if (records.length < wanted && nowMs < endMs) return undefined;
    const map = perfMapOf(set, this.#hostClock);
    if (map === undefined) return undefined;
    this.close();
    this.#roundCount++;
    this.#endedMs = nowMs;
    return pairCalls(records).map((sandwich) => sandwichTrip(sandwich, map));
  }
}

/** Why the clock of process `pid` could not be read; "" when it could. Opens nothing. */
export function whyNotProbed(pid: number): string {
  const { root } = Tracefs.open();
  if (!existsSync(`${root}/uprobe_events`)) return "this kernel has no uprobe_events";
  try {
    locate(pid);
    return "";
  } catch (error) {
    const known = foreseen(error);
    if (known instanceof EmulatorProbeError) return known.message;
    throw error;
  }
}

/** Failures of the machine, not of ours: the clock cannot be read. */
function foreseen(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const isForeseen =
    error instanceof TracefsError || error instanceof ElfError || error instanceof SysError;
  if (code === "EACCES") {
    const hint = "reading another user's process wants CAP_SYS_PTRACE, probes CAP_DAC_OVERRIDE";
    return new EmulatorProbeError(Object.assign(error as Error, { hint }));
  }
  return isForeseen || typeof code === "string" ? new EmulatorProbeError(error as Error) : error;
}

function checkSize(pid: number, cpuCount: number): void {
  const threads = readdirSync(`/proc/${pid}/task`).length;
  const fds = 2 * threads * cpuCount;
  if (fds <= FDS_MAX) return;
  throw new EmulatorProbeError(
    new RangeError(
      `Cannot probe QEMU: ${threads} threads on ${cpuCount} CPUs, wants at most ${FDS_MAX / 2}`,
    ),
  );
}

/** Where the function lies in the file that the process runs. */
function locate(pid: number): { path: string; offset: number } {
  const link = `/proc/${pid}/exe`;
  const path = readlinkSync(link);
  const running = statSync(link);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.ino !== running.ino || found.dev !== running.dev) {
    throw new EmulatorProbeError(
      new ReferenceError(`Cannot probe QEMU: "${path}" is not the file that process ${pid} runs`),
    );
  }
  return { path, offset: functionFileOffset(path, FUNCTION) };
}

function probeSpec(kind: ProbeKind, file: string, offset: number, fetch: string): EventSpec {
  return {
    text: `${kind}:${FUNCTION}`,
    system: kind,
    name: FUNCTION,
    // By address: the symbol need not be looked up each time.
    probe: { kind, target: `0x${offset.toString(16)}`, file, fetchArguments: fetch },
    filter: "",
    attributes: {},
  };
}

function callLayout(events: readonly ResolvedEvent[], sampleType: number): CallLayout {
  const [entry, back] = events as [ResolvedEvent, ResolvedEvent];
  const { timeOffset, fixedBytes } = sampleLayout(sampleType, true);
  const field = parseFormat(back.formatText).fieldByName.get("tsc");
  if (field === undefined) throw new TracefsError("Cannot probe QEMU: no return value");
  return {
    timeOffset,
    rawSizeOffset: fixedBytes,
    entryType: entry.id,
    returnType: back.id,
    valueOffset: field.offsetBytes,
  };
}
