// A pair above --than as text: its two events, and with --detail what lies between them.
//
//   2026-11-22 09:11:34.947858                gen  25232 ...1 [000] 4478.451783: ...sys_enter: ...
//   |+ 29.083 us                              gen  25232 d..1 [000] 4478.451790: ...
//   |                                         gen  25232 d..1 [000] 4478.451799: ...
//   2026-11-22 09:11:34.947887                gen  25232 ...1 [000] 4478.451812: ...sys_exit: ...
//
// The first line between tells the latency, with its bound where the digits show it
// (|+ 29.083 +-0.412 us); when there is none, the latency stands alone.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { SlowPair } from "../analyze/slow_pairs.ts";
import type { LatencyUnit } from "./latency_table.ts";
import type { TraceLines } from "./trace_line.ts";

/** Lines after which the time since the start is shown again. */
const SCALE_LINES = 50;

/** Writes slow pairs. */
export class SlowPairText {
  readonly #lines: TraceLines;
  readonly #unit: LatencyUnit;

  constructor(lines: TraceLines, unit: LatencyUnit) {
    this.#lines = lines;
    this.#unit = unit;
  }

  write(out: ByteWriter, pair: SlowPair): void {
    const { visitDetails } = pair;
    if (visitDetails === undefined) {
      this.#lines.write(out, pair.start);
      this.#lines.write(out, pair.end);
    } else {
      this.#writeDetailed(out, pair, visitDetails);
    }
    if (pair.spansLoss) out.ascii("| events were lost in between: these two may be no pair\n");
  }

  #writeDetailed(
    out: ByteWriter,
    pair: SlowPair,
    visitDetails: NonNullable<SlowPair["visitDetails"]>,
  ): void {
    const { start, end } = pair;
    const lines = this.#lines;
    const latency = `|+ ${this.#latency(pair)}`;
    let before = 0;
    let between = 0;
    let afterCycles = Number.NaN;
    let isStartWritten = false;
    let isEndWritten = false;
    const writeStart = (): void => {
      if (isStartWritten) return;
      isStartWritten = true;
      lines.write(out, start);
    };
    const writeEnd = (): void => {
      if (isEndWritten) return;
      isEndWritten = true;
      writeStart();
      if (between === 0) out.ascii(`${latency}\n`);
      lines.write(out, end);
    };
    const gone = visitDetails((view, place) => {
      const sinceStart = view.timeCycles - start.timeCycles;
      if (place === "before") {
        if (before++ === 0) out.ascii(`-Previous ${this.#shown(sinceStart)}\n`);
        lines.writeTitled(out, view, "|");
      } else if (place === "between") {
        writeStart();
        const isScale = between > 0 && between % SCALE_LINES === 0;
        const title = isScale ? `|- ${this.#shown(sinceStart)}` : "|";
        lines.writeTitled(out, view, between++ === 0 ? latency : title);
      } else {
        writeEnd();
        afterCycles = view.timeCycles - end.timeCycles;
        lines.writeTitled(out, view, "|");
      }
    });
    writeEnd();
    if (!Number.isNaN(afterCycles)) out.ascii(`\`After ${this.#shown(afterCycles)}\n`);
    if (gone > 0) out.ascii(`| the first ${gone} events in between are no longer kept\n`);
  }

  /** With its bound, where that can be seen in the digits that are shown. */
  #latency({ latencyCycles, boundCycles }: SlowPair): string {
    const { perCycle, name } = this.#unit;
    const bound = (boundCycles * perCycle).toFixed(3);
    if (bound === "0.000") return this.#shown(latencyCycles);
    const shown = Number.isFinite(boundCycles) ? bound : "?";
    return `${(latencyCycles * perCycle).toFixed(3)} +-${shown} ${name}`;
  }

  #shown(cycles: number): string {
    return `${(cycles * this.#unit.perCycle).toFixed(3)} ${this.#unit.name}`;
  }
}
