/** What a guest's stream has to be like for a run. */
import { SourceError } from "../link/source.ts";
import type { SourceResume } from "../resume_file.ts";
import type { Guest } from "./guest.ts";

/**
 * Whether a run with --resume can use this stream, of which `isKnown` says that `earlier` had it.
 * Throws SourceError when the guest keeps nothing for hosts that were killed.
 */
export function checkResume(
  { hello, link }: Guest,
  isKnown: boolean,
  earlier: SourceResume | undefined,
  onStatus: (text: string) => void,
): void {
  const { name } = link.source;
  if (hello?.twoWay !== true) {
    throw new SourceError(
      `Cannot resume from ${name}: it keeps nothing for hosts that were killed`,
      "push to a virtio port or a unix socket, or leave --resume out",
    );
  }
  if (earlier === undefined || isKnown) return;
  onStatus(`${name} has begun anew since --resume's file was written`);
}
