/** What a run wants of each of its guests. */

import type { RequestOptions } from "../link/open_request.ts";
import type { ResumeFile } from "../resume_file.ts";

export interface GuestOptions extends RequestOptions {
  readonly agentVersion: string;
  /** Only dumps are wanted: a guest that serves is not asked to open anything. */
  readonly isDump?: boolean;
  /** Events are printed, not only counted and timed: their addresses want names. */
  readonly printsEvents?: boolean;
  readonly onStatus: (text: string) => void;
  /** Acknowledges only what has been used up, and goes on where another run stood. */
  readonly resume?: ResumeFile | undefined;
}
