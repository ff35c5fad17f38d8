/**
 * What a stream says of its hosts and clients, at a bearable pace: whoever connects and hangs up
 * all day, or asks for what he cannot have, must not fill the log.
 *
 *   Refused a client of tcp 127.0.0.1:9900: 64 are connected (and 512 more before it)
 */
import { Bucket } from "../shared/limit/bucket.ts";

/** Texts that may come at once, and in each second after that; further ones are counted. */
export const STATUS_LINES_MAX = 500;
export const STATUS_LINES_PER_SECOND = 50;

/** Passes on to `onStatus` what there is room for, at a clock that only grows. */
export function limitedStatus(
  onStatus: (text: string) => void,
  clockMs: () => number = () => performance.now(),
): (text: string) => void {
  const lines = new Bucket(STATUS_LINES_MAX, STATUS_LINES_PER_SECOND / 1000);
  let unsaid = 0;
  return (text) => {
    if (lines.left(clockMs()) < 1) {
      unsaid++;
      return;
    }
    lines.take(1);
    onStatus(unsaid === 0 ? text : `${text} (and ${unsaid} more before it)`);
    unsaid = 0;
  };
}
