/**
 * Waiting for conditions with a deadline, instead of sleeping for a time that may be enough.
 */

/** How often `waitUntil` looks at a condition that announces itself to nobody. */
const POLL_INTERVAL_MS = 20;

/** A condition did not come true in time; the message names the condition and the time given. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/**
 * The value of `promise`, or a DeadlineError after `deadlineMs`. The promise itself goes on;
 * whoever started it has to end it.
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  deadlineMs: number,
  what: string,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DeadlineError(`Gave up waiting for ${what}: nothing within ${deadlineMs} ms`));
    }, deadlineMs);
  });
  try {
    return await Promise.race([promise, expiry]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with the first value of `condition` that is neither undefined, null nor false. */
export async function waitUntil<T>(
  condition: () => T | Promise<T>,
  deadlineMs: number,
  what: string,
): Promise<Exclude<T, undefined | null | false>> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false) {
      return value as Exclude<T, undefined | null | false>;
    }
    if (performance.now() >= endMs) {
      throw new DeadlineError(`Gave up waiting for ${what}: not within ${deadlineMs} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
}
