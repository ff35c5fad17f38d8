/** A receiver of dumps, and what it has of the one under way. */
import { FrameType } from "../../shared/wire/frame.ts";
import type { Receiver } from "../receiver.ts";
import type { FlightClock } from "./flight_clock.ts";

export class Taker {
  readonly receiver: Receiver;
  /** It has been told that the dump is complete. */
  isDone: boolean;
  /** It missed a dump, and has read nothing since: the next one does not wait for it. */
  isStuck = false;
  /** The TSC of the last reading of the clock that it has. */
  #clockTsc = 0n;

  constructor(receiver: Receiver, isDone: boolean) {
    this.receiver = receiver;
    this.isDone = isDone;
  }

  /** Sends the readings of the clock that it does not have. */
  sendClock(clock: FlightClock): void {
    for (const sample of clock.since(this.#clockTsc)) {
      this.receiver.outlet.send(FrameType.CLOCK_SAMPLE, sample);
      this.#clockTsc = sample.realtimeTsc;
    }
  }
}
