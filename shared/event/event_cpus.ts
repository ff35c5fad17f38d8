/** On which CPUs an event is opened: cpus= of its own, within those of the whole run. */
import { formatCpuList, NoCpuError, selectCpus } from "./machine.ts";
import type { ResolvedEvent } from "./resolve.ts";

/** Where an event with cpus= is opened. Throws NoCpuError when there is no such CPU. */
export function cpusOf(
  { system, name, spec }: ResolvedEvent,
  available: readonly number[],
): ReadonlySet<number> | undefined {
  const { cpus } = spec.attributes;
  if (cpus === undefined) return undefined;
  const wanted = selectCpus(cpus).filter((cpu) => available.includes(cpu));
  if (wanted.length > 0) return new Set(wanted);
  throw new NoCpuError(
    `Cannot sample ${system}:${name} on CPU ${cpus}: the run is limited to CPU ` +
      formatCpuList(available),
  );
}
