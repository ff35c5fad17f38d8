/** What the user is told of a guest while it runs, no oftener than is of use. */
import { printableAscii } from "../../shared/text/printable_ascii.ts";
import type { Dump } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { machineName } from "./machine_name.ts";

/** Places at which a guest may say that it sheds: each is told the user once. */
const SHED_PLACES_MAX = 8;
const PLACE_CHARS_SHOWN = 40;

/** How often the user is told of a dump at most: its guest says when one has come. */
const DUMP_SAID_MS = 500;

export class GuestNotices {
  readonly #machine: number;
  readonly #onStatus: (text: string) => void;
  readonly #shedPlaces = new Set<string>();
  #nextDumpSaidMs = 0;

  constructor(machine: number, onStatus: (text: string) => void) {
    this.#machine = machine;
    this.#onStatus = onStatus;
  }

  /** The guest keeps to its limits, and does not record all the time: said once for each place. */
  shed(text: string): void {
    const place = printableAscii(text.slice(0, PLACE_CHARS_SHOWN));
    if (this.#shedPlaces.has(place) || this.#shedPlaces.size === SHED_PLACES_MAX) return;
    this.#shedPlaces.add(place);
    const machine = machineName(this.#machine);
    this.#onStatus(`${machine} does not record all the time (${place}): the ledger has the count`);
  }

  /** A dump has come. An honest guest has a second between two. */
  dump(mark: Dump, nowMs: number): void {
    if (nowMs < this.#nextDumpSaidMs) return;
    this.#nextDumpSaidMs = nowMs + DUMP_SAID_MS;
    const cause = printableAscii(mark.trigger.slice(0, PLACE_CHARS_SHOWN));
    this.#onStatus(`${machineName(this.#machine)}: dump ${mark.number} (${cause})`);
  }
}
