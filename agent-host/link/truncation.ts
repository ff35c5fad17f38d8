/** A recording that ends before its goodbye: less is in it than was recorded. */
import { type Source, SourceError } from "./source.ts";

export function truncationOf(source: Source): SourceError {
  const { pendingBytes } = source.decoder;
  const where = pendingBytes === 0 ? "" : `, ${pendingBytes} bytes into a frame`;
  return new SourceError(
    `Cannot read all of "${source.name}": it ends in mid-stream after ${source.bytesRead} ` +
      `bytes${where}`,
    "agent-guest was killed, its disk was full, or it is still recording",
  );
}
