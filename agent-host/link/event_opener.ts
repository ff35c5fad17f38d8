/**
 * Asks a guest that serves for its events, once for each time that it says that it waits:
 *
 *   Hello{serving}  ->  Control{open}  ->  Hello{events}, ControlReply   or   ControlReply{error}
 */
import { FrameType } from "../../shared/wire/frame.ts";
import {
  type ControlReply,
  ErrorCode,
  type OpenEvents,
  type Error as WireError,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { type Source, SourceError } from "./source.ts";

/** Opening thousands of events takes a guest seconds; one that says nothing is asked again. */
const OPEN_MS_MAX = 30_000;

/** A guest refuses what it was asked; with the place in a filter that it objects to. */
export function refusalOf(source: string, { code, message, hint, text, position }: WireError) {
  const name = Object.entries(ErrorCode).find(([, value]) => value === code)?.[0];
  const shown = name === undefined || code === ErrorCode.UNSPECIFIED ? `code ${code}` : name;
  const what = `${source} answers: ${message} (${shown})`;
  return new SourceError(what, hint || undefined, text || undefined, position);
}

export class EventOpener {
  readonly #source: Source;
  readonly #request: OpenEvents;
  #id = 0;
  #attachNonce = 0n;
  #giveUpMs = 0;

  constructor(source: Source, request: OpenEvents) {
    this.#source = source;
    this.#request = request;
  }

  /** The guest waits to be asked. At most one request for each Attach, however often it says so. */
  open(attachNonce: bigint, nowMs: number): void {
    if (attachNonce === this.#attachNonce) return;
    this.#attachNonce = attachNonce;
    this.#giveUpMs = nowMs + OPEN_MS_MAX;
    this.#id++;
    const request = { $case: "open", value: this.#request } as const;
    this.#source.send(FrameType.CONTROL, { id: this.#id, request });
  }

  /** Whether an answer may still come: then there is no reason to attach again. */
  isWaiting(nowMs: number): boolean {
    return nowMs < this.#giveUpMs;
  }

  /** The stream has begun, or is to begin anew. */
  settle(): void {
    this.#giveUpMs = 0;
  }

  /** Throws SourceError when the guest refuses. */
  onReply({ id, error }: ControlReply): void {
    if (id !== this.#id || error === undefined) return;
    this.settle();
    throw refusalOf(this.#source.name, error);
  }
}
