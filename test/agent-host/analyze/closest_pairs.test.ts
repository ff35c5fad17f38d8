/** Of many pairs the one of least latency, by guest and direction. */
import { expect, test } from "bun:test";
import { ClosestPairs } from "../../../agent-host/analyze/closest_pairs.ts";
import { timeSegment } from "../../../shared/tsc/time_segment.ts";

const SEGMENT = timeSegment({
  base: 0n,
  slope: 3,
  originCycles: 0,
  targetAnchor: 0n,
  boundCycles: 1,
});

test("take() gives the least of each guest and direction once, the host's bound included", () => {
  const closest = new ClosestPairs();
  closest.noteGuestEffect(1, 100, 5, 180, SEGMENT);
  closest.noteGuestEffect(1, 200, 5, 240, SEGMENT);
  closest.noteGuestEffect(1, 300, 50, 330, SEGMENT);
  closest.noteGuestEffect(2, 1000, 0, 1001, SEGMENT);
  closest.noteHostEffect(1, 900, 5, 820, SEGMENT);
  // A raised time was converted by no segment.
  closest.noteHostEffect(1, 900, 5, 899, undefined);
  expect(closest.take()).toEqual([
    {
      machine: 1,
      isGuestEffect: true,
      hostCycles: 200,
      hostBoundCycles: 5,
      guestCycles: 240,
      guestSegment: SEGMENT,
    },
    {
      machine: 1,
      isGuestEffect: false,
      hostCycles: 900,
      hostBoundCycles: 5,
      guestCycles: 820,
      guestSegment: SEGMENT,
    },
    {
      machine: 2,
      isGuestEffect: true,
      hostCycles: 1000,
      hostBoundCycles: 0,
      guestCycles: 1001,
      guestSegment: SEGMENT,
    },
  ]);
  expect(closest.take()).toEqual([]);
});
