/**
 * From what the user asked for (EventSpec) to what perf_event_open takes: tracepoint ids, formats,
 * created probes. Wildcards multiply here.
 */
import { resolveEnumNames } from "../tracefs/enum_names.ts";
import type { EventName, Tracefs } from "../tracefs/tracefs.ts";
import { Probe, removeStaleProbes } from "./probe.ts";
import type { EventSpec } from "./spec.ts";

/** Most events of one set: each costs a descriptor per CPU. */
export const EVENTS_MAX = 1024;

export interface ResolvedEvent {
  /** Index of the `-e` argument's event that asked for it, in the order given. */
  readonly specIndex: number;
  readonly spec: EventSpec;
  /** As the event is printed: "irq", "uprobe". */
  readonly system: string;
  readonly name: string;
  /** Tracepoint id: perf's config, and common_type of its records. */
  readonly id: number;
  readonly formatText: string;
  readonly probe: Probe | undefined;
}

/** Creates the probe and looks up its event; nothing is left behind when that fails. */
function resolveProbe(specIndex: number, spec: EventSpec, tracefs: Tracefs): ResolvedEvent {
  const probe = Probe.create(tracefs.root, spec.probe!);
  try {
    const id = tracefs.eventId(probe.group, probe.name);
    const formatText = tracefs.formatText(probe.group, probe.name);
    return { specIndex, spec, system: spec.system, name: spec.name, id, formatText, probe };
  } catch (error) {
    probe.close();
    throw error;
  }
}

/**
 * Looks up all events; of those that a wildcard selects, the ones that `isAllowed`. Probes are the
 * caller's: closeProbes. Throws TracefsError, ElfError.
 */
export function resolveEvents(
  specs: readonly EventSpec[],
  tracefs: Tracefs,
  isAllowed: (event: EventName) => boolean = () => true,
): ResolvedEvent[] {
  const resolved: ResolvedEvent[] = [];
  try {
    removeStaleProbes(tracefs.root);
    specs.forEach((spec, specIndex) => {
      if (spec.probe !== undefined) {
        resolved.push(resolveProbe(specIndex, spec, tracefs));
        return;
      }
      for (const { system, name } of tracefs.find(`${spec.system}:${spec.name}`)) {
        if (!isAllowed({ system, name })) continue;
        const id = tracefs.eventId(system, name);
        const formatText = resolveEnumNames(tracefs.formatText(system, name));
        resolved.push({ specIndex, spec, system, name, id, formatText, probe: undefined });
      }
      if (resolved.length > EVENTS_MAX) {
        throw new RangeError(`Cannot open "${spec.text}": over ${EVENTS_MAX} events`);
      }
    });
  } catch (error) {
    closeProbes(resolved);
    throw error;
  }
  return resolved;
}

/** Removes the events' probes: all that can be; throws the first TracefsError of the others. */
export function closeProbes(events: readonly ResolvedEvent[]): void {
  const failures: unknown[] = [];
  for (const event of events) {
    try {
      event.probe?.close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
