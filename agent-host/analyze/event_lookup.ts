// EventLookup: from what a record carries (common_type, or its identifier) to the session's event.
//
// One per machine: ids of a guest mean nothing on the host. When two events of a session share one
// tracepoint their samples need PERF_SAMPLE_IDENTIFIER, since common_type cannot tell them apart.

import { NO_EVENT } from "./chunk.ts";

/** common_type is a u16. */
const COMMON_TYPES = 65536;
/** Identifiers of one machine: events times CPUs. */
export const IDENTIFIERS_MAX = 1 << 18;
/** Events of a session: indexes below NO_EVENT. */
export const EVENTS_MAX = NO_EVENT;

const TWO_32 = 4294967296;

/** Maps the ids of one machine's records to event indexes. */
export class EventLookup {
  /** Event index by common_type, NO_EVENT where there is none. The decoder reads it directly. */
  readonly byType: Uint16Array = new Uint16Array(COMMON_TYPES).fill(NO_EVENT);
  readonly #byIdentifier = new Map<number, number>();

  /** Throws RangeError when the type is taken by another event, or a number is out of range. */
  addType(commonType: number, event: number): void {
    this.#checkEvent(event);
    const taken = this.byType[commonType];
    if (taken === undefined || (taken !== NO_EVENT && taken !== event)) {
      throw new RangeError(
        `Cannot look events up by common_type ${commonType}: it is ` +
          `${taken === undefined ? "not a u16" : `event ${taken}`}, wanted a free one`,
      );
    }
    this.byType[commonType] = event;
  }

  /** `lo` and `hi` of PERF_EVENT_IOC_ID. Throws RangeError when taken, too many, or over 2^53. */
  addIdentifier(lo: number, hi: number, event: number): void {
    this.#checkEvent(event);
    const id = (hi >>> 0) * TWO_32 + (lo >>> 0);
    const taken = this.#byIdentifier.get(id);
    if (!Number.isSafeInteger(id) || (taken !== undefined && taken !== event)) {
      throw new RangeError(
        `Cannot look events up by identifier ${id}: it is ` +
          `${taken === undefined ? "above 2^53" : `event ${taken}`}, wanted a free one`,
      );
    }
    if (this.#byIdentifier.size >= IDENTIFIERS_MAX) {
      throw new RangeError(
        `Cannot look events up by identifier ${id}: ${IDENTIFIERS_MAX} identifiers are known, ` +
          "wanted fewer",
      );
    }
    this.#byIdentifier.set(id, event);
  }

  /** The event with this identifier, or NO_EVENT. */
  identifier(lo: number, hi: number): number {
    // Above 2^53 the sum is rounded; such ids are never stored, and a rounded one is even larger.
    return this.#byIdentifier.get(hi * TWO_32 + lo) ?? NO_EVENT;
  }

  /** Forgets all events: another stream of this machine begins. */
  clear(): void {
    this.byType.fill(NO_EVENT);
    this.#byIdentifier.clear();
  }

  /** Forgets an event, for example when the guest closed it. */
  remove(event: number): void {
    for (let type = 0; type < COMMON_TYPES; type++) {
      if (this.byType[type] === event) this.byType[type] = NO_EVENT;
    }
    for (const [id, known] of this.#byIdentifier) {
      if (known === event) this.#byIdentifier.delete(id);
    }
  }

  #checkEvent(event: number): void {
    if (!Number.isInteger(event) || event < 0 || event >= EVENTS_MAX) {
      throw new RangeError(
        `Cannot add event ${event} to the lookup: wanted an index from 0 to ${EVENTS_MAX - 1}`,
      );
    }
  }
}
