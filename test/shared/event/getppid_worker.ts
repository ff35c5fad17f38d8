/** A thread that calls getppid as often as it is told, and says when it has. */
import { callGetppid } from "./kernel.ts";

declare const self: {
  onmessage: ((event: { data: number }) => void) | null;
  postMessage(news: string): void;
};

self.onmessage = ({ data: calls }) => {
  callGetppid(calls);
  self.postMessage("called");
};
self.postMessage("ready");
