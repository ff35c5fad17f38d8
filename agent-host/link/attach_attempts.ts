/**
 * When a guest is attached to again that has not answered: each Attach has it begin anew, so as
 * long as something comes, which may be a long Hello on a slow way, the pauses grow.
 *
 *   nothing comes     attach  1 s  attach  1 s  attach  1 s  attach
 *   something comes   attach  1 s  attach    2 s    attach        4 s        attach
 */

/** Pause between two attempts, and the longest while something comes. */
export const ATTACH_RETRY_MS = 1000;
export const ATTACH_RETRY_MS_MAX = 16_000;

export class AttachAttempts {
  #nextMs = 0;
  #pauseMs = ATTACH_RETRY_MS;
  #bytesRead = 0;

  isDue(nowMs: number): boolean {
    return nowMs >= this.#nextMs;
  }

  /** An attempt is made, when `bytesRead` have come, or 0 for a stream that was lost. */
  note(nowMs: number, bytesRead: number): void {
    const pauseMs = bytesRead > this.#bytesRead ? 2 * this.#pauseMs : ATTACH_RETRY_MS;
    this.#pauseMs = Math.min(pauseMs, ATTACH_RETRY_MS_MAX);
    this.#bytesRead = bytesRead;
    this.#nextMs = nowMs + this.#pauseMs;
  }
}
