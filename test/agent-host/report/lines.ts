// A session's events and machines as the line tests need them, and text out of a ByteWriter.
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { TimeScale } from "../../../agent-host/report/time_scale.ts";
import type { LineMachine, TraceLineOptions } from "../../../agent-host/report/trace_line.ts";
import { WallClock } from "../../../agent-host/report/wall_clock.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { ascii, common } from "../analyze/record_bytes.ts";

/** What a test writes, as text. */
export function textOf(write: (out: ByteWriter) => void): string {
  const parts: Uint8Array[] = [];
  const out = new ByteWriter(8192, (bytes) => parts.push(bytes.slice()));
  write(out);
  out.flush();
  return Buffer.concat(parts).toString("latin1");
}

/** Nanoseconds since 1970 of a local time, as CLOCK_REALTIME counts them. */
export function localNs(date: Date, micros: number): bigint {
  return BigInt(date.getTime()) * 1_000_000n + BigInt(micros) * 1000n;
}

/** A machine whose tasks have these names. */
export function machineOf(isGuest: boolean, names: Readonly<Record<number, string>>): LineMachine {
  const bytes = new Map(
    Object.entries(names).map(([tid, name]) => [Number(tid), Uint8Array.from(ascii(name))]),
  );
  return { isGuest, names: bytes };
}

/** An event whose info is its raw data behind the common fields, escaped. */
export function eventOf(system: string, label: string) {
  return {
    system,
    label,
    info: {
      print: (out: ByteWriter, bytes: Uint8Array, rawOffset: number, rawBytes: number) =>
        out.untrusted(bytes, rawOffset + 8, rawOffset + rawBytes),
    },
  };
}

/** One cycle is one nanosecond, from this local time and clock value on. */
export function optionsOf(
  wallNs: bigint,
  clockUnits: bigint,
  event: TraceLineOptions["events"][number],
  machine: LineMachine,
): TraceLineOptions {
  return {
    wall: new WallClock(wallNs, 1),
    clock: new TimeScale(clockUnits, 1),
    events: [event],
    machines: [machine],
  };
}

/** An event of machine 0. */
export function viewOf(parts: {
  readonly time?: number;
  readonly cpu: number;
  readonly tid: number;
  readonly flags?: number;
  readonly preempt?: number;
  readonly info?: string;
}): EventView {
  const view = new EventView();
  const { time = 0, cpu, tid, flags = 0, preempt = 0, info = "" } = parts;
  const record = [...common(1, tid, flags, preempt), ...ascii(info)];
  view.timeCycles = time;
  view.cpu = cpu;
  view.bytes = Uint8Array.from([0, 0, 0, 0, ...record]);
  view.rawOffset = 4;
  view.rawBytes = record.length;
  return view;
}
