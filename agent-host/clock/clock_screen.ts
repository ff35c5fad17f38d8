/**
 * Where pictures go: one after the other, or on a terminal each in the place of the one before.
 *
 *   pipe, file, --json,
 *   TERM=dumb            picture \n picture \n ...
 *   terminal             ESC[H picture ESC[J     the last one stays when the command ends
 */
import { Output } from "../../shared/cli/output.ts";
import { clockJson } from "../report/clock_json.ts";
import { clockText } from "../report/clock_text.ts";
import { WallClock } from "../report/wall_clock.ts";
import type { ClockPicture } from "./clock_picture.ts";

const STDOUT = 1;
const CLEAR_ALL = "\x1b[H\x1b[2J";
const HOME = "\x1b[H";
const CLEAR_LINE_REST = "\x1b[K";
const CLEAR_REST = "\x1b[J";

/** Whether a terminal called so knows the sequences above; one without a name may not. */
export function canRedraw(term: string | undefined): boolean {
  return term !== undefined && term !== "" && term !== "dumb";
}

export class ClockScreen {
  readonly #out = new Output(STDOUT, "stdout");
  readonly #isJson: boolean;
  readonly #isRedrawn: boolean;
  #shown = 0;

  /** `isRedrawn`: stdout is a terminal, and pictures follow each other. */
  constructor(isJson: boolean, isRedrawn: boolean) {
    this.#isJson = isJson;
    this.#isRedrawn = isRedrawn && !isJson;
  }

  /** Throws OutputClosedError when the reader has gone. */
  show(picture: ClockPicture): void {
    if (this.#isJson) this.#write(clockJson(picture));
    else {
      const date = new WallClock(picture.wallNs, 1).text(0);
      const text = clockText(picture, date);
      if (this.#isRedrawn) this.#redraw(text);
      else this.#write(this.#shown === 0 ? text : `\n${text}`);
    }
    this.#shown++;
  }

  /** Line by line over the one before, so that nothing flickers. */
  #redraw(text: string): void {
    const lines = text.replaceAll("\n", `${CLEAR_LINE_REST}\n`);
    this.#write(`${this.#shown === 0 ? CLEAR_ALL : HOME}${lines}${CLEAR_REST}`);
  }

  #write(text: string): void {
    this.#out.write(new TextEncoder().encode(text));
  }
}
