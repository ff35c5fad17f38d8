/** A thread that blocks in poll() on the descriptor it is sent, and says when it wakes. */
import { POLLIN } from "../../../shared/sys/abi.ts";
import { PollSet } from "../../../shared/sys/poll.ts";

declare const self: {
  onmessage: ((event: { data: number }) => void) | null;
  postMessage(news: string | number): void;
};

const DEADLINE_MS = 30_000;

self.onmessage = ({ data: fdNumber }) => {
  const poll = new PollSet();
  poll.add(fdNumber, POLLIN);
  self.postMessage("waiting");
  self.postMessage(poll.wait(DEADLINE_MS));
};
