/** What is said of the bounds of the events that were printed. */
import { describe, expect, test } from "bun:test";
import { EventView } from "../../agent-host/analyze/event_view.ts";
import type { NotedMachine } from "../../agent-host/clock_notes.ts";
import { unitMicroseconds } from "../../agent-host/report/latency_table.ts";
import { ShownBounds } from "../../agent-host/shown_bounds.ts";
import { ByteWriter } from "../../shared/text/byte_writer.ts";

function guest(machine: number, method: "kvm" | "ping" | "manual" = "ping"): NotedMachine {
  const clock = { isExact: true, boundCycles: 1 };
  return { machine, clock, time: { alignment: { method }, segmentFor: () => undefined } };
}

/** Events of machine, time and bound in cycles of half a ns; what is said at the end. */
function said(
  events: readonly (readonly [number, number, number])[],
  guests: readonly NotedMachine[],
): string {
  const shown = new ShownBounds();
  for (const [machine, timeCycles, boundCycles] of events) {
    shown.note(Object.assign(new EventView(), { machine, timeCycles, boundCycles }));
  }
  let text = "";
  const out = new ByteWriter(4096, (bytes) => {
    text += new TextDecoder().decode(bytes);
  });
  shown.writeText(out, guests, unitMicroseconds(0.5));
  out.flush();
  return text;
}

describe("ShownBounds", () => {
  test("writeText() gives the largest bound of each guest that was printed", () => {
    const events = [[0, 5, 9e9] as const, [1, 5, 60], [1, 6, 80], [1, 7, 70], [3, 5, 1e5]] as const;
    expect(said(events, [guest(1), guest(2), guest(3, "kvm")])).toBe(
      "clock bound: 0.040 us (guest 1: ping, exact perf clock)\n" +
        "clock bound: 50.000 us (guest 3: KVM debugfs, exact perf clock)\n",
    );
  });

  test("writeText() warns of round trips that bound what was before them by a millisecond", () => {
    const [line, warning, hint] = said([[1, -5, 5e9] as const, [1, 5, 60]], [guest(1)]).split("\n");
    expect(line).toBe("clock bound: 2500000.000 us (guest 1: ping, exact perf clock)");
    expect(warning).toBe(
      "WARNING: times of what guest 1 recorded before this run are off by up to 2.5 s: " +
        "round trips bound them the worse, the older they are",
    );
    expect(hint).toStartWith("HINT: --tsc-offset N, or --vm");
  });

  test("writeText() warns of nothing else", () => {
    const quiet = (event: readonly [number, number, number], machine: NotedMachine): string =>
      said([event], [machine]).replace(/^clock bound: .*\n$/, "");
    expect(quiet([1, -5, 1.9e6], guest(1))).toBe("");
    expect(quiet([1, 5, 5e9], guest(1))).toBe("");
    expect(quiet([1, -5, 5e9], guest(1, "manual"))).toBe("");
    expect(quiet([1, -5, 5e9], { ...guest(1), time: undefined })).toBe("");
  });
});
