/**
 * Keeps --resume's file in step with the output, and the guests with the file: first the lines are
 * written, then the file says so, then the guest may forget. Killed between any two of these, the
 * next run finds what the last one did not get done; see resume_file.ts.
 *
 * So it is at the end: the guest is told that we leave and stops, but keeps what it has sent until
 * the last lines and the ledger are written and the file is gone.
 */
import { positionsOf, type ResumeFile } from "./resume_file.ts";
import type { WallNsOf } from "./session/ended_streams.ts";
import type { Guest } from "./session/guest.ts";

/** A guest's ring waits that much longer for its room; the file is written as often. */
const COMMIT_MS = 50;

export class ResumeKeeper {
  readonly #file: ResumeFile;
  readonly #guests: readonly Guest[];
  readonly #wallNsOf: WallNsOf;
  readonly #writeOut: () => void;
  #nextMs = 0;
  #saved: string | undefined;

  /** `wallNsOf`: the time of day of a canonical time. `writeOut` writes what was printed so far. */
  constructor(
    file: ResumeFile,
    guests: readonly Guest[],
    wallNsOf: WallNsOf,
    writeOut: () => void,
  ) {
    this.#file = file;
    this.#guests = guests;
    this.#wallNsOf = wallNsOf;
    this.#writeOut = writeOut;
  }

  /** Call before anything is written: what a run that is killed at once has written is cut off. */
  begin(): void {
    this.#save();
  }

  /** Call now and then, when all that was released has been printed. */
  commit(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + COMMIT_MS;
    this.#writeOut();
    this.#save();
    for (const guest of this.#guests) guest.mark();
  }

  /**
   * The run ends, and all is written out. One that failed, or was not handed all that there is, may
   * be gone on with.
   */
  end(hasFailed: boolean, onStatus: (text: string) => void): void {
    const missing = this.#guests.find(({ link }) => link.bye === undefined);
    if (!hasFailed && missing === undefined) {
      this.#file.remove();
      for (const guest of this.#guests) guest.link.release(guest.positions());
      return;
    }
    for (const guest of this.#guests) guest.mark();
    // Whatever has been printed at the end stays, even if no event came since the last time.
    this.#saved = undefined;
    this.#save();
    if (hasFailed || missing === undefined) return;
    onStatus(
      `${missing.link.source.name} has not handed over all that it holds: ` +
        "the next run with this file of --resume goes on there",
    );
  }

  #save(): void {
    const places = this.#guests.map((guest) => guest.usedUp(this.#wallNsOf));
    const key = places
      .map(({ cpus, ended }) => {
        return `${ended.length} ${cpus.map(({ position, shown }) => `${position}+${shown}`).join()}`;
      })
      .join("\n");
    if (key === this.#saved) return;
    this.#saved = key;
    this.#file.save(places);
    this.#guests.forEach(({ link }, i) => {
      link.acknowledge(positionsOf(places[i]!.cpus));
    });
  }
}
