/**
 * Asks a guest that serves for what is wanted of it, once for each time that it says that it waits:
 *
 *   Hello{serving}  ->  Control{open}      ->  Hello{events}, ControlReply, or ControlReply{error}
 *   Hello{serving}  ->  Control{describe}  ->  ControlReply{events, more}, ControlReply{events}
 */
import { FrameType } from "../../shared/wire/frame.ts";
import {
  type Control,
  type ControlReply,
  ErrorCode,
  type Event,
  type OpenEvents,
  type Error as WireError,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { type Source, SourceError } from "./source.ts";

/** Opening thousands of events takes a guest seconds; one that says nothing is asked again. */
const ANSWER_MS_MAX = 30_000;
/** Events that a guest may describe, and the bytes of their formats: 2,300 take 3 MB. */
const DESCRIBED_MAX = 16_384;
const DESCRIBED_BYTES_MAX = 32 * 1024 * 1024;

/** A guest refuses what it was asked; with the place in a filter that it objects to. */
export function refusalOf(source: string, error: WireError): SourceError {
  const { code, message, hint, text, position } = error;
  const name = Object.entries(ErrorCode).find(([, value]) => value === code)?.[0];
  const shown = name === undefined || code === ErrorCode.UNSPECIFIED ? `code ${code}` : name;
  const what = `${source} answers: ${message} (${shown})`;
  return new SourceError(what, hint || undefined, text || undefined, position);
}

/** What a guest that serves is asked. */
export interface Question {
  readonly request: NonNullable<Control["request"]>;
  /** Takes a part of the answer. Throws SourceError when it is too much. */
  onReply(reply: ControlReply): void;
}

/** To open events: the answer is a stream of them. */
export function openQuestion(request: OpenEvents): Question {
  return { request: { $case: "open", value: request }, onReply: () => {} };
}

/** To describe the events that `pattern` selects, without opening them. */
export class DescribeQuestion implements Question {
  readonly request: NonNullable<Control["request"]>;
  readonly events: Event[] = [];
  isAnswered = false;
  #bytes = 0;

  constructor(pattern: string) {
    this.request = { $case: "describe", value: { pattern } };
  }

  onReply({ events, more }: ControlReply): void {
    for (const { format } of events) this.#bytes += format.length;
    if (this.events.length + events.length > DESCRIBED_MAX || this.#bytes > DESCRIBED_BYTES_MAX) {
      throw new SourceError(
        `Cannot list a guest's events: it describes over ${DESCRIBED_MAX} events or ` +
          `${DESCRIBED_BYTES_MAX} bytes of formats`,
      );
    }
    this.events.push(...events);
    this.isAnswered = !more;
  }
}

export class Asker {
  readonly #source: Source;
  readonly #question: Question;
  #id = 0;
  #attachNonce = 0n;
  #giveUpMs = 0;

  constructor(source: Source, question: Question) {
    this.#source = source;
    this.#question = question;
  }

  /** The guest waits to be asked. At most one request for each Attach, however often it says so. */
  ask(attachNonce: bigint, nowMs: number): void {
    if (attachNonce === this.#attachNonce) return;
    this.#attachNonce = attachNonce;
    this.#giveUpMs = nowMs + ANSWER_MS_MAX;
    this.#id++;
    this.#source.send(FrameType.CONTROL, { id: this.#id, request: this.#question.request });
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
  onReply(reply: ControlReply): void {
    if (reply.id !== this.#id) return;
    if (reply.error !== undefined) {
      this.settle();
      throw refusalOf(this.#source.name, reply.error);
    }
    this.#question.onReply(reply);
  }
}
