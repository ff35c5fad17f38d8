/**
 * The record walkers: the host's, which decodes a guest's spans into columns and visits call
 * chains, and the guest's, which counts the samples that a client missed. Never outside the span;
 * every sample is a row, or counted as what it was not.
 */
import { visitFrames } from "../../../agent-host/analyze/call_chain.ts";
import { type Chunk, ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { type SampleLayout, sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import type { TaskListener } from "../../../agent-host/analyze/side_records.ts";
import { countSamples, recordStartAt } from "../../../shared/perf/record.ts";
import { lookupOf, SAME_TIME } from "../../agent-host/analyze/fixtures.ts";
import { FakeRing } from "../../shared/perf/ring_fixture.ts";
import type { Outcome, Target } from "../campaign.ts";
import { bytesCorpus } from "../corpus.ts";

const TID = 1 << 1;
const TIME = 1 << 2;
const CALLCHAIN = 1 << 5;
const RAW = 1 << 10;
const IDENTIFIER = 1 << 16;
const LAYOUTS = [
  sampleLayout(TIME | RAW, false),
  sampleLayout(TIME | RAW, true),
  sampleLayout(IDENTIFIER | TID | TIME | CALLCHAIN | RAW, true),
  sampleLayout(TIME | CALLCHAIN | RAW, false),
];
/** common_type of the events that are known; the corpus has samples of them. */
const TYPES = [7, 8, 9];
const COMM_BYTES_MAX = 16;
/** What lies in front of the span, and what must not be read behind it. */
const LEAD_BYTES = 64;
const BEHIND = 0x09;
const BEHIND_BYTES = 4096;
const RING_BYTES = 64 * 1024;

const pool = new ChunkPool(1);
const lookup = lookupOf(...TYPES);
lookup.addIdentifier(300, 0, 1);
const view = new EventView();
const guestRing = new FakeRing(RING_BYTES).ring;

function check(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

const listener: TaskListener = {
  comm: (_machine, _pid, _tid, _memory, from, to) => {
    check(to - from >= 0 && to - from <= COMM_BYTES_MAX, `a name of ${to - from} bytes`);
  },
  fork: () => {},
  exit: () => {},
  exec: () => {},
  map: (_machine, _pid, { start, end }) => check(start <= end, `a mapping from ${start} to ${end}`),
};

/** Every row lies within what was walked, frames of its chain too. */
function checkRow(chunk: Chunk, i: number, begin: number, end: number): void {
  const [from, bytes] = [chunk.rawOffset[i]!, chunk.rawBytes[i]!];
  check(bytes >= 8 && from >= begin + 20 && from + bytes <= end, `raw data at ${from}, ${bytes}`);
  check(Number.isFinite(chunk.timeCycles[i]!), `time ${chunk.timeCycles[i]}`);
  check(chunk.event[i]! < TYPES.length, `event ${chunk.event[i]}`);
  view.setRecord(chunk, i);
  if (view.chainOffset === 0) return;
  check(view.chainOffset >= begin && view.chainOffset < end, `chain at ${view.chainOffset}`);
  visitFrames(view, (lo, hi) => check(Number.isInteger(lo + hi), `frame ${hi}:${lo}`));
}

/** As agent-host decodes a span; gives how much of it was refused. */
function decode(span: Uint8Array, layout: SampleLayout): number {
  const chunk = pool.acquire(0, 0, 0)!;
  chunk.bytes.fill(BEHIND, 0, LEAD_BYTES + span.length + BEHIND_BYTES);
  chunk.bytes.set(span, LEAD_BYTES);
  const decoder = new RingDecoder(lookup, layout, listener);
  const walked = decoder.decodeSpan(chunk, LEAD_BYTES, LEAD_BYTES + span.length, SAME_TIME);
  const { samples, unknownEvents, malformedSamples, malformedBytes } = decoder.counters;
  check(walked + malformedBytes === span.length, `${walked} walked, ${malformedBytes} not`);
  check(chunk.count === samples - unknownEvents - malformedSamples, `${chunk.count} rows`);
  const begin = chunk.bytesOffset + LEAD_BYTES;
  for (let i = 0; i < chunk.count; i++) checkRow(chunk, i, begin, begin + walked);
  pool.release(chunk);
  return malformedBytes + malformedSamples + unknownEvents;
}

/** As agent-guest counts what a client missed, from wherever a host said that it has got to. */
function count(span: Uint8Array): boolean {
  guestRing.data.set(span);
  try {
    const samples = countSamples(guestRing, 0, span.length);
    check(samples * 8 <= span.length, `${samples} samples`);
    const start = recordStartAt(guestRing, 0, span.length >>> 1);
    check(start >= 0 && start <= span.length >>> 1, `a record at ${start}`);
    return true;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return false;
  }
}

/** What is no multiple of 8 bytes does not get here: the joiner sees to that. */
function run(input: Uint8Array, seed: number): Outcome {
  const span = input.subarray(0, Math.min(RING_BYTES, input.length & ~7));
  const refused = decode(span, LAYOUTS[seed % LAYOUTS.length]!);
  return count(span) && refused === 0 ? "value" : "error";
}

export const records = (): Target => ({ name: "records", corpus: bytesCorpus("records.txt"), run });
