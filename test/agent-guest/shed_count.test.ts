/** ShedCount on counters that the test sets, where the kernel counts what is lost and where not. */
import { describe, expect, test } from "bun:test";
import type { Ledger } from "../../agent-guest/ledger.ts";
import { ShedCount } from "../../agent-guest/shed_count.ts";
import type { EventSet } from "../../shared/event/event_set.ts";

/** Two rings whose counters the test sets. */
class FakeSet {
  readonly counts = [
    { produced: 0n, lost: 0n },
    { produced: 0n, lost: 0n },
  ];
  readonly paused: boolean[] = [false, false];
  readonly rings = this.counts.map((_, index) => ({
    index,
    pause: (isPaused: boolean): void => {
      this.paused[index] = isPaused;
    },
  }));
  readonly hasLost: boolean;

  constructor(hasLost: boolean) {
    this.hasLost = hasLost;
  }

  count({ index }: { index: number }): { produced: bigint; lost: bigint } {
    return { ...this.counts[index]! };
  }
}

/** A ledger that remembers what it is told. */
function listening(): { heard: string[]; ledger: Ledger } {
  const heard: string[] = [];
  const shed = (index: number, place: string, events: number): void => {
    heard.push(`${index} ${place} ${events}`);
  };
  return { heard, ledger: { shed } as unknown as Ledger };
}

for (const hasLost of [true, false]) {
  const counter = hasLost ? "lost" : "produced";

  describe(`ShedCount by what is ${counter}`, () => {
    test("resume() gives what each ring did not record since pause()", () => {
      const set = new FakeSet(hasLost);
      const { heard, ledger } = listening();
      const shed = new ShedCount(set as unknown as EventSet);
      set.counts[0]![counter] = 17n;
      shed.pause("shed by --max-cpu");
      expect(set.paused).toEqual([true, true]);
      set.counts[0]![counter] = 5017n;
      set.counts[1]![counter] = 3n;
      expect([...shed.resume([ledger])]).toEqual([5000, 3]);
      expect(heard).toEqual(["0 shed by --max-cpu 5000", "1 shed by --max-cpu 3"]);
      expect([shed.place, ...set.paused]).toEqual(["", false, false]);
    });

    test("settle() in between counts nothing twice, and a ring that shed nothing is not told", () => {
      const set = new FakeSet(hasLost);
      const { heard, ledger } = listening();
      const shed = new ShedCount(set as unknown as EventSet);
      shed.pause("p");
      set.counts[1]![counter] = 40n;
      shed.settle([ledger]);
      shed.settle([ledger]);
      set.counts[1]![counter] = 42n;
      expect([...shed.resume([ledger])]).toEqual([0, 42]);
      expect(heard).toEqual(["1 p 40", "1 p 2"]);
    });

    test("a pause within a pause keeps the first one's place and count", () => {
      const set = new FakeSet(hasLost);
      const shed = new ShedCount(set as unknown as EventSet);
      shed.pause("first");
      set.counts[0]![counter] = 9n;
      shed.pause("second");
      expect(shed.place).toBe("first");
      expect([...shed.resume([])]).toEqual([9, 0]);
    });

    test("settle() without a pause counts nothing", () => {
      const set = new FakeSet(hasLost);
      const { heard, ledger } = listening();
      const shed = new ShedCount(set as unknown as EventSet);
      set.counts[0]![counter] = 9n;
      shed.settle([ledger]);
      expect(heard).toEqual([]);
    });
  });
}
