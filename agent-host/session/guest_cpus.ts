/**
 * Which CPUs a guest says it has, checked: at least one, and over its life not more than its share
 * of what a session holds. A ring stays for the run once something of it has come, so a guest that
 * began again and again with other CPUs would use up those of all.
 */
import { POSITION_MAX } from "../../shared/wire/frame.ts";
import type { Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { SourceError } from "../link/source.ts";

/** CPUs that one guest may have, those of its earlier streams included: RINGS_MAX rests on it. */
export const GUEST_CPUS_MAX = 1024;

/** `seen` are the CPUs of which something has come, in any of its streams. Throws SourceError. */
export function checkCpus(
  { cpus }: Pick<Hello, "cpus">,
  sourceName: string,
  seen: ReadonlyMap<number, unknown> = new Map(),
): void {
  if (cpus.length === 0) throw new SourceError(`Cannot use ${sourceName}: it names no CPU`);
  const isOver = cpus.length > GUEST_CPUS_MAX;
  const all = isOver ? cpus.length : new Set([...seen.keys(), ...cpus.map(({ cpu }) => cpu)]).size;
  if (all <= GUEST_CPUS_MAX) return;
  throw new SourceError(
    `Cannot use ${sourceName}: it has ${isOver ? "" : "had "}${all} CPUs, ` +
      `wants at most ${GUEST_CPUS_MAX}`,
  );
}

/** By CPU: where its ring begins, -1 when the guest does not say. */
export function ringStarts({ cpus, start }: Hello): Map<number, number> {
  const starts = new Map(cpus.map(({ cpu }) => [cpu, -1]));
  for (const { cpu, position } of start) {
    if (starts.has(cpu) && position <= POSITION_MAX) starts.set(cpu, Number(position));
  }
  return starts;
}
