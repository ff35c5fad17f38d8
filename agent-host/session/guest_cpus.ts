/** Which CPUs a guest says it has, checked: at least one, and not more than a session holds. */
import { POSITION_MAX } from "../../shared/wire/frame.ts";
import type { Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { SourceError } from "../link/source.ts";

/** CPUs that one guest may have. */
export const GUEST_CPUS_MAX = 1024;

/** Throws SourceError. */
export function checkCpus({ cpus }: Hello, sourceName: string): void {
  if (cpus.length === 0) throw new SourceError(`Cannot use ${sourceName}: it names no CPU`);
  if (cpus.length <= GUEST_CPUS_MAX) return;
  throw new SourceError(
    `Cannot use ${sourceName}: it has ${cpus.length} CPUs, wants at most ${GUEST_CPUS_MAX}`,
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
