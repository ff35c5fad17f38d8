/** Entry point of the engine's Worker: takes one order, runs it, reports how it ended. */
import { EXIT, failureOf } from "../shared/cli/failure.ts";
import { OutputClosedError } from "../shared/cli/output.ts";
import { ClockEngine } from "./clock/clock_engine.ts";
import { Engine } from "./engine.ts";
import type { ClockOrder, EngineNews, EngineOrder } from "./protocol.ts";

declare const self: {
  onmessage: ((event: { data: EngineOrder | ClockOrder }) => void) | null;
  postMessage(news: EngineNews): void;
};

self.onmessage = ({ data: order }) => {
  try {
    const onStatus = (text: string): void => self.postMessage({ kind: "status", text });
    const engine =
      order.command === "clock" ? new ClockEngine(order, onStatus) : new Engine(order, onStatus);
    self.postMessage({ kind: "done", exitCode: engine.run() });
  } catch (error) {
    if (error instanceof OutputClosedError) {
      self.postMessage({ kind: "done", exitCode: EXIT.DONE });
      return;
    }
    self.postMessage({ kind: "failed", failure: failureOf(error) });
  }
};
