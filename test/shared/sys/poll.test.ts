/** PollSet: slots, readiness, and what does not count as ready. */
import { describe, expect, test } from "bun:test";
import { O_RDONLY, POLLIN, POLLNVAL, POLLOUT } from "../../../shared/sys/abi.ts";
import { openEventFd, openFile, wakeEventFd } from "../../../shared/sys/fd.ts";
import { POLL_FDS_MAX, PollSet } from "../../../shared/sys/poll.ts";

describe("PollSet", () => {
  test("wait() gives how many are ready, readyEvents() which and for what", () => {
    using quiet = openEventFd();
    using loud = openEventFd();
    const poll = new PollSet();
    const quietSlot = poll.add(quiet.number, POLLIN);
    const loudSlot = poll.add(loud.number, POLLIN | POLLOUT);
    expect(poll.count).toBe(2);
    expect(poll.wait(0)).toBe(1);
    expect(poll.readyEvents(quietSlot)).toBe(0);
    expect(poll.readyEvents(loudSlot)).toBe(POLLOUT);
    wakeEventFd(loud.number);
    expect(poll.wait(0)).toBe(1);
    expect(poll.readyEvents(loudSlot)).toBe(POLLIN | POLLOUT);
    poll.close();
  });

  test("watch() changes what a slot waits for", () => {
    using eventFd = openEventFd();
    const poll = new PollSet();
    const slot = poll.add(eventFd.number, POLLIN);
    expect(poll.wait(0)).toBe(0);
    poll.watch(slot, POLLOUT);
    expect(poll.wait(0)).toBe(1);
    poll.close();
  });

  test("clear() and add() forget the readiness of the slot's former owner", () => {
    using first = openEventFd();
    using second = openEventFd();
    wakeEventFd(first.number);
    const poll = new PollSet();
    poll.add(first.number, POLLIN);
    expect(poll.wait(0)).toBe(1);
    poll.clear();
    expect(poll.count).toBe(0);
    const slot = poll.add(second.number, POLLIN);
    expect(poll.readyEvents(slot)).toBe(0);
    poll.close();
  });

  test("a closed descriptor is reported, not waited for", () => {
    const fd = openFile("/dev/null", O_RDONLY);
    const poll = new PollSet();
    const slot = poll.add(fd.number, POLLIN);
    fd.close();
    expect(poll.wait(1000)).toBe(1);
    expect(poll.readyEvents(slot)).toBe(POLLNVAL);
    poll.close();
  });

  test("an empty set waits for nothing and returns", () => {
    const poll = new PollSet();
    expect(poll.wait(0)).toBe(0);
    poll.close();
  });

  test(`add() refuses more than ${POLL_FDS_MAX} descriptors`, () => {
    using eventFd = openEventFd();
    const poll = new PollSet();
    for (let i = 0; i < POLL_FDS_MAX; i++) poll.add(eventFd.number, POLLIN);
    expect(() => poll.add(eventFd.number, POLLIN)).toThrow(RangeError);
    // The last slot is as good as the first.
    wakeEventFd(eventFd.number);
    poll.clear();
    for (let i = 0; i < 1000; i++) poll.add(eventFd.number, POLLIN);
    expect(poll.wait(0)).toBe(1000);
    expect(poll.readyEvents(999)).toBe(POLLIN);
    poll.close();
  });

  test("close() is idempotent", () => {
    const poll = new PollSet();
    poll.close();
    expect(() => poll.close()).not.toThrow();
  });
});
