/**
 * From what the user asked for (EventSpec) to what perf_event_open takes: tracepoint ids, formats,
 * created probes. Wildcards multiply here.
 */
import type { Tracefs } from "../tracefs/tracefs.ts";
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

/** Looks up every event. Throws TracefsError, ElfError. Probes belong to the caller: closeProbes. */
export function resolveEvents(specs: readonly EventSpec[], tracefs: Tracefs): ResolvedEvent[] {
  const resolved: ResolvedEvent[] = [];
  let staleChecked = false;
  try {
    specs.forEach((spec, specIndex) => {
      if (spec.probe !== undefined) {
        if (!staleChecked) removeStaleProbes(tracefs.root);
        staleChecked = true;
        const probe = Probe.create(tracefs.root, spec.probe, specIndex);
        resolved.push({
          specIndex,
          spec,
          system: spec.system,
          name: spec.name,
          id: tracefs.eventId(probe.group, probe.name),
          formatText: tracefs.formatText(probe.group, probe.name),
          probe,
        });
        return;
      }
      for (const { system, name } of tracefs.find(`${spec.system}:${spec.name}`)) {
        if (resolved.length === EVENTS_MAX) {
          throw new RangeError(`Cannot open "${spec.text}": over ${EVENTS_MAX} events`);
        }
        const id = tracefs.eventId(system, name);
        const formatText = tracefs.formatText(system, name);
        resolved.push({ specIndex, spec, system, name, id, formatText, probe: undefined });
      }
    });
  } catch (error) {
    closeProbes(resolved);
    throw error;
  }
  return resolved;
}

export function closeProbes(events: readonly ResolvedEvent[]): void {
  for (const event of events) event.probe?.close();
}
