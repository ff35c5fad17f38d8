/**
 * The names that a guest gives to places where its events were dropped ("slow client"): few, short,
 * and safe to print, whatever it says. Agents have a handful of them.
 */
import { printableAscii } from "../../shared/text/printable_ascii.ts";

/** Places that a guest may name over its life: what is dropped elsewhere is summed up in one. */
export const PLACES_MAX = 16;
const PLACE_CHARS_MAX = 40;
const OTHER_PLACES = "other places";

export class DropPlaces {
  readonly #known = new Set<string>();

  /** Adds events to those of a place. */
  add(drops: Map<string, number>, place: string, events: bigint): void {
    const name = this.#nameOf(place);
    drops.set(name, (drops.get(name) ?? 0) + Number(events));
  }

  #nameOf(place: string): string {
    const name = printableAscii(place.slice(0, PLACE_CHARS_MAX));
    if (this.#known.has(name)) return name;
    if (this.#known.size === PLACES_MAX - 1) return OTHER_PLACES;
    this.#known.add(name);
    return name;
  }
}
