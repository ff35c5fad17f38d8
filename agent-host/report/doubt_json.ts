// Times that were printed before it was known that a guest's clock had stepped, as a JSON line:
//
//   {"type":"clock_doubt","machine":"guest 1","from_ns":"186430038050123",
//    "to_ns":"186430502050123","extra_bound_ns":203513000.1,"within":false}
//
// The machine's events of that time that came before this line may be off by so much more than they
// say. `within`: from each other, too. With --tsc the members are from_tsc and to_tsc. "from_ns" is
// null when it holds for all that came.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { Doubt } from "../analyze/doubts.ts";
import { jsonNumber, jsonString } from "./json_value.ts";
import type { TraceLineOptions } from "./trace_line.ts";

export interface DoubtJsonOptions extends Pick<TraceLineOptions, "clock"> {
  readonly isTsc: boolean;
  readonly nsPerCycle: number;
}

export function writeDoubtJson(
  out: ByteWriter,
  { clock, isTsc, nsPerCycle }: DoubtJsonOptions,
  machine: string,
  { fromCycles, toCycles, extraCycles, isWithin }: Doubt,
): void {
  const unit = isTsc ? "tsc" : "ns";
  out.ascii(`{"type":"clock_doubt","machine":${jsonString(machine)}`);
  const from = fromCycles === -Infinity ? "null" : `"${clock.exact(fromCycles)}"`;
  out.ascii(`,"from_${unit}":${from}`);
  out.ascii(`,"to_${unit}":"${clock.exact(toCycles)}"`);
  out.ascii(`,"extra_bound_ns":${jsonNumber(extraCycles * nsPerCycle, 3)}`);
  out.ascii(`,"within":${isWithin}}\n`);
}
