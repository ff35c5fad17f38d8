/** Entry point of the engine's Worker: takes one order, runs it, reports how it ended. */
import { EXIT, failureOf } from "../shared/cli/failure.ts";
import { OutputClosedError } from "../shared/cli/output.ts";
import { Engine } from "./engine.ts";
import type { EngineNews, EngineOrder } from "./protocol.ts";

declare const self: {
  onmessage: ((event: { data: EngineOrder }) => void) | null;
  postMessage(news: EngineNews): void;
};

self.onmessage = ({ data: order }) => {
  try {
    const engine = new Engine(order, (text) => self.postMessage({ kind: "status", text }));
    self.postMessage({ kind: "done", exitCode: engine.run() });
  } catch (error) {
    if (error instanceof OutputClosedError) {
      self.postMessage({ kind: "done", exitCode: EXIT.DONE });
      return;
    }
    self.postMessage({ kind: "failed", failure: failureOf(error) });
  }
};
