/** Which CPUs a guest says it has, checked: at least one, and not more than a session holds. */
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
