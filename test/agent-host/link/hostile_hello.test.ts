/**
 * agent-host and guests whose Hello cannot be used: the source is at fault (exit code 4), the
 * message says how, and nothing that the guest chose reaches the terminal as it is.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import type { Event, Hello } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { startAgent } from "../support/agent_process.ts";
import { FakeGuest } from "../support/fake_guest.ts";
import { FAKE_EVENT, FAKE_FORMAT, fakeEvent, fakeHello } from "../support/guest_stream.ts";

/** Clears the screen, rings the bell. */
const ESCAPES = "\x1b[2J\x07";
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const oneEvent = (changes: Partial<Event>): Partial<Hello> => ({ events: [fakeEvent(changes)] });
const events = (count: number, changes: Partial<Event> = {}): Event[] =>
  Array.from({ length: count }, (_, index) => fakeEvent({ index, name: `m${index}`, ...changes }));

interface Case {
  readonly name: string;
  readonly hello: Partial<Hello>;
  readonly message: RegExp;
}

const NO_FORMAT = { format: new Uint8Array(0) };
const CASES: readonly Case[] = [
  { name: "no CPU", hello: { cpus: [] }, message: /it names no CPU$/ },
  {
    name: "9,000 CPUs",
    hello: { cpus: Array.from({ length: 9000 }, (_, cpu) => ({ cpu })) },
    message: /it has 9000 CPUs, wants at most 1024$/,
  },
  {
    name: "no event",
    hello: { events: [], eventCount: 0 },
    message: /it describes no event$/,
  },
  {
    name: "5,000 events",
    hello: { events: events(5000, NO_FORMAT), eventCount: 5000 },
    message: /it has over 4096 events$/,
  },
  {
    name: "4 billion events to come",
    hello: { eventCount: 4_000_000_000 },
    message: /it has over 4096 events$/,
  },
  {
    name: "a refused filter that is no C either",
    hello: oneEvent({ refusedFilter: `value +* ${ESCAPES}` }),
    message: /the filter of fake:marker that its kernel refused is no C expression either: /,
  },
  {
    name: "a refused filter on a field that it does not have",
    hello: oneEvent({ refusedFilter: "nofield==1" }),
    message: /is no C expression either: unknown variable "nofield"$/,
  },
  {
    name: "a refused filter that assigns",
    hello: oneEvent({ refusedFilter: "value=1" }),
    message: /is no C expression either: a filter assigns nothing$/,
  },
  {
    name: "a refused filter of 5,000 characters",
    hello: oneEvent({ refusedFilter: "value==1||".repeat(500) }),
    message: /its kernel refused has 5000 characters, wants at most 1024$/,
  },
  {
    name: "another event",
    hello: oneEvent({ system: "other", name: `na${ESCAPES}me` }),
    message: /Cannot pull "fake:marker" from \S+: it sends other:na\?\[2J\?me$/,
  },
  {
    name: "a format that is none",
    hello: oneEvent({ format: bytes(`rub${ESCAPES}bish`) }),
    message: /Cannot parse event format: line 1: /,
  },
  {
    name: "a format of 70,000 bytes",
    hello: oneEvent({ format: bytes(FAKE_FORMAT.padEnd(70_000, "\n")) }),
    message: /Cannot read a HELLO message: \S+ has 70000 bytes, wanted at most 65536$/,
  },
  { name: "no format", hello: oneEvent(NO_FORMAT), message: /Cannot parse event format: / },
  {
    name: "a format that is cut off",
    hello: oneEvent({ format: bytes(FAKE_FORMAT.slice(0, 200)) }),
    message: /Cannot parse event format: /,
  },
  {
    name: "a sample_type of all ones",
    hello: oneEvent({ sampleType: 2n ** 64n - 1n }),
    message: /Cannot decode samples: sample_type is 0x1/,
  },
  {
    name: "a sample_type without TIME",
    hello: oneEvent({ sampleType: 0x400n }),
    message: /Cannot decode samples: sample_type is 0x400/,
  },
  {
    name: "a common_type that no record can have",
    hello: oneEvent({ commonType: 0xffffffff }),
    message: /Cannot look events up by common_type 4294967295/,
  },
  {
    name: "an identifier beyond 2^53",
    hello: oneEvent({ sampleType: 0x10404n, ids: [2n ** 63n] }),
    message: /Cannot look events up by identifier/,
  },
  {
    name: "events of two layouts",
    hello: {
      events: [fakeEvent(), fakeEvent({ index: 1, name: "b", sampleType: 0x10404n })],
      eventCount: 2,
    },
    message: /its events differ in layout$/,
  },
];

/** agent-host attached to a guest that says `hello`. */
async function attach(hello: Partial<Hello>, event = FAKE_EVENT) {
  const path = workspace.file(`${sockets++}.sock`);
  const guest = await FakeGuest.listen({ path }, { hello, twoWay: true });
  const host = startAgent(workspace, "agent-host", ["trace", "-e", `${event}//pull=unix:${path}/`]);
  return { guest, host, path, peer: await guest.attached() };
}

/** Nothing but printable characters and line ends. */
function expectClean(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\xff]/);
}

describe("agent-host refuses a guest", () => {
  for (const { name, hello, message } of CASES) {
    test(`with ${name}`, async () => {
      const { guest, host } = await attach(hello);
      await using _ = guest;
      expect({ ...(await host.end()), stderr: host.stderr }).toMatchObject({ code: EXIT.SOURCE });
      const errors = host.stderr.split("\n").filter((line) => line.startsWith("agent-host: "));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(/^agent-host: ERROR: Cannot (use|pull) /);
      expect(errors[0]).toMatch(message);
      expectClean(host.stderr);
      expect(host.stdout).toBe("");
    });
  }

  test("whose formats fill the memory", async () => {
    const { guest, host, peer } = await attach({ events: [], eventCount: 4000 });
    await using _ = guest;
    const format = bytes(FAKE_FORMAT.padEnd(65_000, "\n"));
    for (let sent = 0; sent < 300 && !peer.hasClosed; sent += 15) {
      peer.send(peer.writer.frame(FrameType.EVENTS, { events: events(15, { format }) }));
    }
    expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
    expect(host.stderr).toMatch(/formats of over \d+ bytes$/m);
  });

  test("that answers with an error, its text made harmless", async () => {
    const { guest, host, peer } = await attach({});
    await using _ = guest;
    const message = `no${ESCAPES} room\nagent-host: ERROR: forged`;
    const refusal = { code: 5, message, hint: `do${ESCAPES}it`, text: "", position: 0 } as const;
    peer.send(peer.writer.frame(FrameType.ERROR, refusal));
    expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
    expect(host.stderr).toMatch(/^agent-host: ERROR: \S+ answers: no\?\[2J\? room .*\(LIMIT\)$/m);
    expect(host.stderr).toMatch(/^HINT: do\?\[2J\?it$/m);
    expectClean(host.stderr);
  });
});

test("agent-host waits for events that a Hello promises and never sends", async () => {
  const { guest, host } = await attach({ eventCount: 2 });
  await using _ = guest;
  await host.said(/^Waiting for /m);
  expect(await host.stop()).toMatchObject({ code: EXIT.SOURCE });
});

test("agent-host ignores the answer to an Attach that was not its last", async () => {
  const path = workspace.file("stale.sock");
  await using guest = await FakeGuest.listen({ path }, { isSilent: true });
  const args = ["trace", "-e", `${FAKE_EVENT}//pull=unix:${path}/`];
  const host = startAgent(workspace, "agent-host", args);
  const peer = await guest.connected();
  const stale = fakeHello({ attachNonce: 0x6666n, twoWay: true, events: [], eventCount: 0 });
  peer.send(peer.writer.frame(FrameType.HELLO, stale));
  await host.said(/^Waiting for agent-guest behind /m);
  expect(await host.stop()).toMatchObject({ code: EXIT.SOURCE });
});
