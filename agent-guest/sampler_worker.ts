/** Entry point of the sampler's Worker: takes one order, runs it, reports how it ended. */
import { failureOf } from "../shared/cli/failure.ts";
import type { SamplerNews, SamplerOrder } from "./protocol.ts";
import { Sampler } from "./sampler.ts";

declare const self: {
  onmessage: ((event: { data: SamplerOrder }) => void) | null;
  postMessage(news: SamplerNews): void;
};

self.onmessage = ({ data: order }) => {
  try {
    const sampler = new Sampler(order, (text) => self.postMessage({ kind: "status", text }));
    self.postMessage({ kind: "done", ...sampler.run() });
  } catch (error) {
    self.postMessage({ kind: "failed", failure: failureOf(error) });
  }
};
