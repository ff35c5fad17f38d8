/** What a step of a machine's clocks puts in doubt, and who is told of it. */
import { describe, expect, test } from "bun:test";
import type { Doubt } from "../../../agent-host/analyze/doubts.ts";
import { doubtSince } from "../../../agent-host/session/guest_doubts.ts";
import { MachineRings } from "../../../agent-host/session/machine_rings.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { readTsc } from "../../../shared/sys/clock.ts";

describe("doubtSince()", () => {
  test("a second, smaller step soon after the first one is told, too", () => {
    const session = new Session(undefined);
    session.setAnchorOnce(readTsc());
    const doubts: Doubt[] = [];
    session.onDoubt = (doubt) => doubts.push(doubt);
    const guest = {
      machine: 1,
      rings: new MachineRings(session, 1),
      conversion: { time: undefined },
    };
    doubtSince(session, guest, { fromCycles: 100, apartCycles: 1000, isWithin: false });
    doubtSince(session, guest, { fromCycles: 200, apartCycles: 900, isWithin: false });
    expect(doubts.map(({ extraCycles }) => extraCycles)).toEqual([1000, 900]);
    expect(doubts[1]!.toCycles).toBeGreaterThan(doubts[0]!.toCycles);
  });
});
