// Pairing around lost events: what is left out, and what is not.
import { describe, expect, test } from "bun:test";
import { chunkOf, type EventRow } from "./event_rows.ts";
import { PairingFixture as Fixture } from "./pairing_fixture.ts";

describe("Pairing.run() with loss", () => {
  function runWithLoss(f: Fixture, rows: readonly EventRow[], before: number, machine = 0): void {
    const chunk = chunkOf(f.pool, { machine }, []);
    f.pool.release(chunk);
    const filled = chunkOf(f.pool, { machine }, rows);
    const count = filled.count;
    filled.count = before;
    filled.addLost(3, rows[before - 1]?.time ?? 0);
    filled.count = count;
    f.pairing.run(filled, 0, count);
    f.pool.release(filled);
  }

  test("leaves out pairs that span a loss, and counts them", () => {
    const f = new Fixture();
    runWithLoss(
      f,
      [
        { time: 10, event: 0, key: 1 },
        { time: 15, event: 1, key: 1 },
        { time: 20, event: 0, key: 2 },
        { time: 50, event: 1, key: 2 },
        { time: 60, event: 0, key: 3 },
        { time: 63, event: 1, key: 3 },
      ],
      3,
    );
    expect(f.summary()).toEqual(["0=>1 2 8"]);
    expect([f.row().leftOut, f.row().leftOutCyclesMax]).toEqual([1, 30]);
    expect(f.pairing.losses.events(0)).toBe(3);
  });

  test("regards loss of either machine of a pair only", () => {
    const f = new Fixture();
    f.run([{ time: 10, event: 0, key: 1 }], { machine: 1 });
    runWithLoss(f, [{ time: 20, event: 5 }], 0, 2);
    f.run([{ time: 30, event: 1, key: 1 }], { machine: 0 });
    expect(f.row().leftOut).toBe(0);
    f.run([{ time: 40, event: 0, key: 1 }], { machine: 1 });
    f.pairing.losses.note(0, 1, 41);
    f.run([{ time: 50, event: 1, key: 1 }], { machine: 0 });
    expect(f.row().leftOut).toBe(1);
    expect([...f.row().machines].toSorted()).toEqual([0, 1]);
  });
});
