/** From specs to tracepoint ids: wildcards, what is unknown, and what is left behind on failure. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { EVENTS_MAX, resolveEvents } from "../../../shared/event/resolve.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { Tracefs, UnknownEventError } from "../../../shared/tracefs/tracefs.ts";
import { libcPath, NO_TRACING, ownProbes } from "./kernel.ts";

function resolve(text: string) {
  return resolveEvents(parseEventSpecs(text), Tracefs.open());
}

describe.skipIf(NO_TRACING !== "")("resolveEvents", () => {
  test("resolveEvents() gives the kernel's id and its own format", () => {
    const { root } = Tracefs.open();
    const [event, ...others] = resolve("irq:irq_handler_entry/irq>0/alias=handler/");
    const folder = `${root}/events/irq/irq_handler_entry`;
    expect(others).toEqual([]);
    expect(event!.id).toBe(Number(readFileSync(`${folder}/id`, "utf8")));
    expect(event!.formatText).toBe(readFileSync(`${folder}/format`, "latin1"));
    expect(event).toMatchObject({ system: "irq", name: "irq_handler_entry", specIndex: 0 });
    expect(event!.spec.filter).toBe("irq>0");
  });

  test("resolveEvents() multiplies wildcards, and says which spec each event is of", () => {
    const events = resolve("irq:irq_handler_exit,raw_syscalls:*,irq:irq_handler_e*");
    expect(events.map(({ specIndex, system, name }) => [specIndex, `${system}:${name}`])).toEqual([
      [0, "irq:irq_handler_exit"],
      [1, "raw_syscalls:sys_enter"],
      [1, "raw_syscalls:sys_exit"],
      [2, "irq:irq_handler_entry"],
      [2, "irq:irq_handler_exit"],
    ]);
  });

  test("resolveEvents() refuses an unknown event, with a proposal", () => {
    try {
      resolve("irq:irq_handler_entri");
      throw new Error("found it");
    } catch (error) {
      expect(error).toBeInstanceOf(UnknownEventError);
      expect((error as UnknownEventError).hint).toContain("irq:irq_handler_entry");
    }
  });

  test(`resolveEvents() refuses more than ${EVENTS_MAX} events`, () => {
    expect(() => resolve("*:*")).toThrow(`Cannot open "*:*": over ${EVENTS_MAX} events`);
  });

  test.skipIf(libcPath() === "")(
    "resolveEvents() removes its probes when a later event fails",
    () => {
      const probe = `uprobe:getppid@"${libcPath()}"`;
      expect(() => resolve(`${probe},${probe},nosuch:event`)).toThrow(UnknownEventError);
      expect(ownProbes()).toEqual([]);
    },
  );
});
