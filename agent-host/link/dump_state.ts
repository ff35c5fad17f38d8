/**
 * Dumps of one guest that is a flight recorder: asking for one, and where the last one stands.
 *
 *   ask()                  Control{dump}   ->
 *                                          <-   ControlReply, or ControlReply{error}
 *   isUnderWay             Samples...      <-   Dump{2, "host"}
 *   completed = 2                          <-   Dump{2, complete, tsc}
 */
import { FrameType } from "../../shared/wire/frame.ts";
import type { ControlReply, Dump } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { refusalOf } from "./guest_question.ts";
import type { Source } from "./source.ts";

/** How long a dump that was asked for may take to begin, before it is asked for again. */
const BEGIN_MS_MAX = 5000;
/** Requests for events count from 1 (guest_question.ts); these are told from them. */
const ID_FIRST = 0x4000_0000;

/** How to have a guest that can be asked. */
export const DUMP_HINT = "a flight recorder is started with agent-guest trace --overwrite";

export class DumpState {
  /** Number of the last dump that is complete; 0 before the first. */
  completed = 0;
  isUnderWay = false;
  /** Of the last dump that began; 0 before the first of a stream. */
  number = 0;
  readonly #source: Source;
  #id = ID_FIRST;
  /** The dump that was asked for has a higher number; -1 when none was. */
  #askedAfter = -1;
  #askedMs = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Whether a dump that was asked for has not come to its end. */
  get isExpected(): boolean {
    return this.#askedAfter >= 0;
  }

  /** Asks for a dump, unless one is expected already. */
  ask(nowMs: number): void {
    const isBeginning = this.isUnderWay || nowMs - this.#askedMs < BEGIN_MS_MAX;
    if (this.isExpected && isBeginning) return;
    this.#askedAfter = this.number;
    this.#askedMs = nowMs;
    const request = { $case: "dump", value: {} } as const;
    this.#source.send(FrameType.CONTROL, { id: this.#id++, request });
  }

  onMark({ number, complete }: Dump): void {
    this.number = number;
    this.isUnderWay = !complete;
    if (!complete) return;
    this.completed = number;
    if (number > this.#askedAfter) this.#askedAfter = -1;
  }

  /** Another stream begins: what was asked of the one before is forgotten, and asked again. */
  restart(): void {
    this.isUnderWay = false;
    this.number = 0;
    if (this.isExpected) this.#askedAfter = 0;
    this.#askedMs = -Infinity;
  }

  /** Throws SourceError when the guest refuses. */
  onReply({ id, error }: ControlReply): void {
    if (id >= ID_FIRST && error !== undefined) throw refusalOf(this.#source.name, error);
  }
}
