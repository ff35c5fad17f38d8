/** What doctor finds of other people's tracing: in folders made up here, and in the kernel. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { checkOtherTracing, tracingPlaces } from "../../../shared/cli/other_tracing.ts";
import { Workspace } from "../../vm/workspace.ts";
import { NO_TRACING } from "../event/kernel.ts";
import { makeInstance, removeInstance } from "../tracefs/support/instance.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function place(path: string, events: string, tracer: string): string {
  mkdirSync(path, { recursive: true });
  writeFileSync(`${path}/set_event`, events);
  writeFileSync(`${path}/current_tracer`, `${tracer}\n`);
  return path;
}

describe("tracingPlaces()", () => {
  test("finds events and function tracers, at the top and in instances", () => {
    const root = place(workspace.file("tracing"), "bpf_trace:bpf_trace_printk\n", "nop");
    place(`${root}/instances/idle`, "", "nop");
    const busy = place(`${root}/instances/busy`, "sched:sched_switch\nirq:irq_raise\n", "nop");
    const traced = place(`${root}/instances/traced`, "", "function_graph");
    const found = tracingPlaces(root).toSorted((a, b) => (a.path < b.path ? -1 : 1));
    expect(found).toEqual([
      { path: busy, events: 2, tracer: "nop" },
      { path: traced, events: 0, tracer: "function_graph" },
    ]);
  });

  test("finds nothing where there are no instances", () => {
    expect(tracingPlaces(place(workspace.file("quiet"), "", "nop"))).toEqual([]);
  });
});

test.skipIf(NO_TRACING !== "")("checkOtherTracing() tells of an event of the kernel", () => {
  const root = "/sys/kernel/tracing";
  const instance = makeInstance(root, "doctor");
  try {
    writeFileSync(`${instance.path}/events/sched/sched_process_exec/enable`, "1");
    expect(tracingPlaces(root)).toContainEqual({ path: instance.path, events: 1, tracer: "nop" });
    expect(checkOtherTracing()).toMatchObject({ severity: "warn" });
  } finally {
    removeInstance(instance.path);
  }
});
