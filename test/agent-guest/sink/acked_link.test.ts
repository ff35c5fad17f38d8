/** What leaves the rings of a two-way link, and what does not: by the agent, over a unix socket. */
import { describe, expect, test } from "bun:test";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { DEADLINE_MS, GuestClient } from "../support/guest_client.ts";
import { ascending, range } from "../support/numbers.ts";
import { startTrace } from "../support/trace.ts";

describe.skipIf(NO_TRACING !== "")("AckedLink", () => {
  test("keeps what a host says that it has received until that acknowledges it", async () => {
    await using trace = await startTrace("unix:FOLDER/s");
    const connect = (): GuestClient =>
      GuestClient.connect({ kind: "unix", path: trace.workspace.file("s") });
    const client = connect();
    client.attach();
    await client.untilSampling();
    callGetppid(100);
    await client.until(() => client.reader.samples === 100, "100 samples");
    // As one that has not written them yet, and has heard nothing for a while.
    client.attach({ resume: true });
    await client.until(() => client.reader.hello!.attachNonce === 2n, "the second Hello");
    callGetppid(20, 100);
    await client.until(() => client.reader.samples === 120, "120 samples");
    client.close();
    const isGone = (): boolean => trace.agent.stderr.includes("Disconnected from");
    await waitUntil(isGone, DEADLINE_MS, "the host to be gone");
    const next = connect();
    next.reader.hello = client.reader.hello;
    next.attach({ resume: true, positions: [] });
    await next.until(() => next.reader.samples >= 120, "all of them once more");
    expect(ascending(next.reader.numbers)).toEqual(range(120));
    next.acknowledge();
    const stopped = trace.stop();
    await next.until(() => next.hasEnded, "the end");
    expect(await stopped).toEqual([{ produced: 120, lostKernel: 0, dropped: 0, forwarded: 120 }]);
    next.close();
  });
});
