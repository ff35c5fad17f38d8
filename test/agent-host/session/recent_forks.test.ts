/** The forks that were read last, for names that are read late. */
import { describe, expect, test } from "bun:test";
import { RecentForks } from "../../../agent-host/session/recent_forks.ts";

function tidsOf(forks: RecentForks, parentTid: number, fromCycles: number): number[] {
  const tids: number[] = [];
  forks.each(parentTid, fromCycles, (tid) => tids.push(tid));
  return tids;
}

describe("RecentForks", () => {
  test("each() gives the children of one parent that are not older than a name", () => {
    const forks = new RecentForks();
    forks.add(11, 1, 100);
    forks.add(12, 1, 200);
    forks.add(21, 2, 300);
    expect(forks.newestCycles).toBe(300);
    expect([tidsOf(forks, 1, 100), tidsOf(forks, 1, 101)]).toEqual([[11, 12], [12]]);
    expect([tidsOf(forks, 2, 0), tidsOf(forks, 3, 0)]).toEqual([[21], []]);
  });

  test("each() forgets the oldest of 64, and what was asked for four times", () => {
    const forks = new RecentForks();
    for (let tid = 0; tid < 65; tid++) forks.add(tid, 1, tid);
    const counts = Array.from({ length: 6 }, () => tidsOf(forks, 1, 0).length);
    expect(counts).toEqual([64, 64, 64, 64, 0, 0]);
    forks.add(7, 1, 500);
    expect(tidsOf(forks, 1, 0)).toEqual([7]);
  });
});
