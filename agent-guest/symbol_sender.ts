/**
 * Sends one receiver answers about addresses beside its samples: a slice of work at a time, and
 * only while it takes what it is sent, so that rings are served and nothing piles up.
 */
import { FrameType } from "../shared/wire/frame.ts";
import type { SymbolRequest, Symbols } from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./sink/outlet.ts";
import { answerSymbols } from "./symbol_answers.ts";

/** How long the end waits for a table that a recording needs whole. */
const FINISH_MS_MAX = 2000;

export class SymbolSender {
  readonly #outlet: Outlet;
  #answer: Generator<Symbols, void> | undefined;

  constructor(outlet: Outlet) {
    this.#outlet = outlet;
  }

  /** Begins an answer; what is still being answered is dropped. */
  ask(id: number, request: SymbolRequest): void {
    this.#answer?.return();
    this.#answer = answerSymbols(id, request);
  }

  /** Whether there is work that need not wait for the receiver. */
  get isBusy(): boolean {
    const { isBlocked, failure } = this.#outlet;
    return this.#answer !== undefined && !isBlocked && failure === undefined;
  }

  /** Works until then, or a moment longer. */
  work(untilMs: number): void {
    this.#send(untilMs);
  }

  /** The stream ends: what was begun is sent to its end, if it is taken. */
  finish(): void {
    this.#send(performance.now() + FINISH_MS_MAX);
  }

  #send(deadlineMs: number): void {
    while (this.isBusy && performance.now() < deadlineMs) {
      const next = this.#answer!.next();
      if (next.done) this.#answer = undefined;
      else this.#outlet.send(FrameType.SYMBOLS, next.value);
    }
  }
}
