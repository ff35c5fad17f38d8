/**
 * What somebody else has the kernel trace: a run of trace-cmd that was killed leaves its events on,
 * and each costs where it happens, in everything that is measured.
 *
 *   set_event         sched:sched_switch       an event a line, of the top level and of each
 *                     ...                      instance below instances/
 *   current_tracer    nop                      or function, function_graph, irqsoff ...
 */
import { readdirSync, readFileSync } from "node:fs";
import { isPresent, readLineOf } from "../event/machine.ts";
import { Tracefs } from "../tracefs/tracefs.ts";
import type { Finding } from "./doctor.ts";

/** Instances that are looked at, and places that one line names. */
const INSTANCES_MAX = 64;
const PLACES_SHOWN = 3;
/** The first BPF program that prints switches it on, for good. */
const ALWAYS_ON = "bpf_trace:bpf_trace_printk";

/** Somebody's ring: its folder, the events that go there, and what traces functions. */
export interface TracingPlace {
  readonly path: string;
  readonly events: number;
  readonly tracer: string;
}

/** Those below `root` that something goes to. */
export function tracingPlaces(root: string): TracingPlace[] {
  const folder = `${root}/instances`;
  const instances = isPresent(folder) ? readdirSync(folder).slice(0, INSTANCES_MAX) : [];
  const paths = [root, ...instances.map((name) => `${folder}/${name}`)];
  return paths.map(placeAt).filter(({ events, tracer }) => events > 0 || tracer !== "nop");
}

function placeAt(path: string): TracingPlace {
  const file = `${path}/set_event`;
  const on = isPresent(file) ? readFileSync(file, "latin1").split("\n") : [];
  const events = on.filter((event) => event !== "" && event !== ALWAYS_ON).length;
  return { path, events, tracer: readLineOf(`${path}/current_tracer`) || "nop" };
}

export function checkOtherTracing(): Finding {
  const places = tracingPlaces(Tracefs.open().root);
  if (places.length === 0) return { severity: "ok", detail: "none" };
  const shown = places.slice(0, PLACES_SHOWN).map(({ path, events, tracer }) => {
    const what = [
      ...(events > 0 ? [`${events} events`] : []),
      ...(tracer === "nop" ? [] : [tracer]),
    ];
    return `${what.join(" and ")} in ${path}`;
  });
  const more = places.length > PLACES_SHOWN ? `, and ${places.length - PLACES_SHOWN} more` : "";
  const { path, events } = places[0]!;
  const end = events > 0 ? `echo 0 > ${path}/events/enable` : `echo nop > ${path}/current_tracer`;
  return {
    severity: "warn",
    detail: `${shown.join(", ")}${more}: each costs where it happens, and is in what is measured`,
    hint: `if nobody needs that: ${end}`,
  };
}
