/** The guest's ledger: rows since a receiver came, with what was dropped, by place. */
import { describe, expect, test } from "bun:test";
import { DropCounts, Ledger } from "../../agent-guest/ledger.ts";
import type { CpuRing, EventSet } from "../../shared/event/event_set.ts";

/** An event set of two CPUs whose counters the test moves. */
function fakeSet(): { set: EventSet; counts: { produced: bigint; lost: bigint }[] } {
  const counts = [
    { produced: 1000n, lost: 10n },
    { produced: 0n, lost: 0n },
  ];
  const rings = counts.map((_, cpu) => ({ cpu, ring: { head: 8192 + cpu } }));
  const set = { rings, count: (ring: CpuRing) => ({ ...counts[ring.cpu]! }) };
  return { set: set as unknown as EventSet, counts };
}

describe("Ledger", () => {
  test("row() counts from when the receiver came", () => {
    const { set, counts } = fakeSet();
    const ledger = new Ledger(set, true);
    counts[0]!.produced += 700n;
    counts[0]!.lost += 3n;
    ledger.drop(0, "slow client", 20, 1920);
    expect(ledger.row(set.rings[0]!, 0, 8192, 4096)).toEqual({
      cpu: 0,
      produced: 700n,
      lostKernel: 3n,
      drops: [{ place: "slow client", events: 20n, bytes: 1920n }],
      headPosition: 8192n,
      sentPosition: 8192n,
      ackedPosition: 4096n,
    });
    expect(ledger.row(set.rings[1]!, 1, 8193, 8193)).toMatchObject({
      cpu: 1,
      produced: 0n,
      drops: [],
    });
  });

  test("row() is silent when the receiver came while events ran", () => {
    const { set } = fakeSet();
    const ledger = new Ledger(set, false);
    ledger.drop(0, "slow client", 1, 96);
    expect(ledger.row(set.rings[0]!, 0, 0, 0)).toBeUndefined();
  });
});

describe("DropCounts", () => {
  test("add() sums up by place, in the order in which places came", () => {
    const drops = new DropCounts();
    drops.add("b", 1, 10);
    drops.add("a", 2, 20);
    drops.add("b", 3, 30);
    expect(drops.events).toBe(6);
    expect(drops.toDrops()).toEqual([
      { place: "b", events: 4n, bytes: 40n },
      { place: "a", events: 2n, bytes: 20n },
    ]);
  });

  test("add() refuses places without end", () => {
    const drops = new DropCounts();
    for (let i = 0; i < 64; i++) drops.add(`place ${i}`, 1, 1);
    expect(() => drops.add("one more", 1, 1)).toThrow(RangeError);
    drops.add("place 63", 1, 1);
    expect(drops.events).toBe(65);
  });
});
