/**
 * perf.data through the host's own decoder: records of a file that perf wrote become events with
 * call chains, tasks and mappings, as those of a ring do.
 *
 * Layout: struct perf_file_header, attributes with their ids, records
 * (tools/perf/Documentation/perf.data-file-format.txt).
 */
import { readFileSync } from "node:fs";
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { EventLookup } from "../../../agent-host/analyze/event_lookup.ts";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import type { HostSymbols } from "../../../agent-host/session/host_symbols.ts";
import { SAME_TIME } from "../analyze/fixtures.ts";

/** Bytes decoded at once: whole records of less than a chunk. */
const SPAN_BYTES = 128 * 1024;

export interface PerfEventIds {
  readonly sampleType: number;
  readonly ids: readonly bigint[];
}

/** Decodes a file and visits its samples in the file's order; `symbols` learn of the processes. */
export function visitPerfSamples(
  path: string,
  symbols: HostSymbols,
  visit: (view: EventView) => void,
): RingDecoder["counters"] {
  const file = readFileSync(path);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const lookup = new EventLookup();
  const attrBytes = u64(16);
  let sampleType = 0;
  for (let at = u64(24), event = 0; at < u64(24) + u64(32); at += attrBytes, event++) {
    const ids = u64(at + attrBytes - 16);
    // Dummies carry the records of tasks; they have no RAW and write no samples.
    const type = u64(at + 24);
    if (view.getUint32(at, true) === 2) sampleType = type;
    for (let i = 0; i < u64(at + attrBytes - 8); i += 8) {
      lookup.addIdentifier(view.getUint32(ids + i, true), view.getUint32(ids + i + 4, true), event);
    }
  }
  const { users } = symbols;
  const layout = sampleLayout(sampleType, true);
  // Twice: what tasks did is known in full before a chain is looked at, as perf sorts by time.
  const decoder = new RingDecoder(lookup, layout);
  const taskDecoder = new RingDecoder(lookup, layout, {
    comm: () => {},
    fork: (_machine, pid, _tid, parentPid, _parentTid, cycles) => {
      if (pid !== parentPid) users.fork(pid, parentPid, cycles);
    },
    exit: () => {},
    exec: (_machine, pid, cycles) => users.exec(pid, cycles),
    map: (_machine, pid, mapping, cycles) => users.map(pid, mapping, cycles),
  });
  const pool = new ChunkPool(1);
  const views = new EventView();
  const pieces: (readonly [number, number])[] = [];
  for (let from = u64(40), at = from, end = u64(40) + u64(48); at + 8 <= end; ) {
    at += view.getUint16(at + 6, true);
    if (at - from < SPAN_BYTES && at + 8 <= end) continue;
    pieces.push([from, at]);
    from = at;
  }
  for (const isSecond of [false, true]) {
    for (const [from, to] of pieces) {
      const chunk = pool.acquire(0, 0, 0)!;
      chunk.bytes.set(file.subarray(from, to));
      (isSecond ? decoder : taskDecoder).decodeSpan(chunk, 0, to - from, SAME_TIME);
      for (let i = 0; isSecond && i < chunk.count; i++) {
        views.setRecord(chunk, i);
        visit(views);
      }
      pool.release(chunk);
    }
  }
  return decoder.counters;
}
