/** What it means that a source has come to its end. */
import { type Source, SourceError } from "./source.ts";

export const NOT_OURS_HINT = "is it agent-guest that listens there?";

/**
 * Why it is wrong that a source ended without a goodbye; undefined for a recording that was begun.
 * `hasHello`: a stream had begun; `foreign`: bytes that came and were no frame.
 */
export function endError(
  source: Source,
  hasHello: boolean,
  foreign: number,
): SourceError | undefined {
  if (source.isFile) {
    if (hasHello) return undefined;
    const what = foreign === 0 ? "it is empty" : `${foreign} bytes of something else`;
    return new SourceError(
      `Cannot read "${source.name}": no stream of agent-guest in it (${what})`,
      "files are written by agent-guest trace -e EVENT//push=FILE/",
    );
  }
  if (!hasHello) {
    const what = foreign === 0 ? "without a word" : `after ${foreign} bytes of something else`;
    return new SourceError(
      `Cannot pull from ${source.name}: it closed the connection ${what}`,
      NOT_OURS_HINT,
    );
  }
  return new SourceError(
    `Lost ${source.name}: it closed the connection in mid-stream`,
    "the guest or its agent has ended; start agent-host again when it is back",
  );
}
