/**
 * Pausing a ring's output, and ending one of its events, on the real kernel: what the counters say
 * of events that are not recorded is what the agents' ledgers rest on.
 */
import { afterEach, describe, expect, test } from "bun:test";
import type { EventSet } from "../../../shared/event/event_set.ts";
import {
  callGetpgrp,
  callGetppid,
  NO_TRACING,
  OWN_GETPGRP,
  OWN_GETPPID,
  openEvents,
  samplesOf,
  totalOf,
} from "./kernel.ts";

let set: EventSet | undefined;

afterEach(() => {
  set?.close();
  set = undefined;
});

function pause(isPaused: boolean): void {
  for (const ring of set!.rings) ring.pause(isPaused);
}

describe.skipIf(NO_TRACING !== "")("CpuRing", () => {
  test("pause() keeps records out of the ring, and each is counted, as lost where that is", () => {
    set = openEvents([OWN_GETPPID()]);
    set.enable();
    callGetppid(10);
    pause(true);
    callGetppid(500, 10);
    expect(samplesOf(set)).toHaveLength(10);
    expect(totalOf(set)).toEqual({ produced: 510, lost: set.hasLost ? 500 : 0 });
    pause(false);
    callGetppid(20, 510);
    expect(samplesOf(set)).toHaveLength(30);
    expect(totalOf(set)).toEqual({ produced: 530, lost: set.hasLost ? 500 : 0 });
  });

  test("retire() ends one event for good, whatever enables the others", () => {
    set = openEvents([OWN_GETPPID(), OWN_GETPGRP()]);
    set.enable();
    callGetppid(5);
    callGetpgrp(5);
    set.retire(1);
    callGetpgrp(5);
    set.disable();
    set.enable();
    callGetpgrp(5);
    callGetppid(5, 5);
    expect(samplesOf(set)).toHaveLength(15);
    expect(totalOf(set).produced).toBe(15);
  });
});
