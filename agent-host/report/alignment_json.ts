/**
 * The relation between a guest's TSC and the host's as JSON, of `agent-host clock --json` and at
 * the end of multi-trace --json:
 *
 *   {"type":"alignment","machine":"guest 1","method":"ping","ready":true,"round_trips":251,
 *    "cpus":[{"cpu":null,"offset":"-26","rate":1,"bound_ns":18200,...}],...}
 *
 * Bounds and distances are in ns of host time; what is not known is null; integers that may pass
 * 2^53 are strings.
 */

import type { AlignmentDescription, CpuAlignment } from "../align/alignment_description.ts";
import { jsonNumber, jsonObject, jsonString } from "./json_value.ts";

/**
 * Members of an object, as JSON. `eventBoundNsOf` gives |error| of an event's time on the host's
 * time line for a CPU, or for the worst of all where the relation is that of all (undefined).
 */
export function alignmentMembers(
  alignment: AlignmentDescription,
  hostHz: number,
  eventBoundNsOf: (cpu: number | undefined) => number,
): Record<string, string> {
  const ns = (cycles: number): string => jsonNumber((cycles / hostHz) * 1e9, 3);
  const { causality } = alignment;
  const cpus = alignment.cpus.map((cpu) => cpuObject(cpu, eventBoundNsOf(cpu.cpu), ns));
  const unavailable = alignment.unavailable.map(({ method, reason, hint }) =>
    jsonObject({
      method: jsonString(method),
      reason: jsonString(reason),
      hint: hint === "" ? "null" : jsonString(hint),
    }),
  );
  return {
    method: jsonString(alignment.method),
    ready: `${alignment.isReady}`,
    method_source: alignment.source === "" ? "null" : jsonString(alignment.source),
    unexplained_writes: `${alignment.unexplainedWrites}`,
    emulator_readings: `${alignment.emulatorReadings}`,
    round_trips: `${alignment.pingCount}`,
    round_trip_ns_min: ns(alignment.wireCyclesMin),
    ping_bound_ns: ns(alignment.pingBoundCycles),
    ping_disagreements: `${alignment.disagreementCount}`,
    ping_excess_ns_max: ns(alignment.excessCyclesMax),
    causality_pairs: `${causality.usedPairs}`,
    causality_pairs_refused: `${causality.refusedPairs}`,
    causality_bound_ns: causality.usedPairs === 0 ? "null" : ns(causality.boundCycles),
    causality_trusted: `${causality.isTrusted}`,
    not_used: `[${unavailable.join(",")}]`,
    cpus: `[${cpus.join(",")}]`,
  };
}

function cpuObject(
  cpu: CpuAlignment,
  eventBoundNs: number,
  ns: (cycles: number) => string,
): string {
  return jsonObject({
    cpu: `${cpu.cpu ?? null}`,
    apic_id: `${cpu.apicId ?? null}`,
    offset: cpu.offset === undefined ? "null" : `"${cpu.offset}"`,
    rate: jsonNumber(cpu.rate, 15),
    ratio: `"${cpu.ratio}"`,
    frac_bits: `${cpu.fracBits}`,
    rate_error_ppb: jsonNumber(cpu.rateErrorPpb, 3),
    bound_ns: ns(cpu.boundCycles),
    event_bound_ns: jsonNumber(eventBoundNs, 3),
    epoch: `${cpu.epoch}`,
  });
}
