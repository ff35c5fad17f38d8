/** What a host asks of a guest that serves, frame by frame, and what it does not let it do. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { DescribeQuestion, openQuestion } from "../../../agent-host/link/guest_question.ts";
import { openRequest } from "../../../agent-host/link/open_request.ts";
import { SourceError } from "../../../agent-host/link/source.ts";
import { matchGuestEvents } from "../../../agent-host/session/guest_events.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import {
  type Control,
  type ControlReply,
  ErrorCode,
  type Event,
  EventKind,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { fakeEvent, fakeHello } from "../support/guest_stream.ts";
import { LinkHarness, ofType } from "../support/link_harness.ts";

const OPTIONS = { ringBytes: 1024 * 1024, callChains: false, key: undefined };
const ASKED = parseEventSpecs("fake:marker/value==1/alias=mine/");
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const idle = (attachNonce: bigint) => {
  const nothing = { events: [], eventCount: 0, cpus: [], start: [], streamNonce: 0n };
  return fakeHello({ ...nothing, attachNonce, twoWay: true, serving: true });
};

/** A guest that has said that it waits, and the question that it got. */
function asked(): { harness: LinkHarness; attachNonce: bigint; control: Control } {
  const question = openQuestion(openRequest(ASKED, OPTIONS));
  const harness = new LinkHarness(workspace.file(`${sockets++}`), question);
  const { attachNonce } = harness.attach();
  harness.message(FrameType.HELLO, idle(attachNonce));
  const [control] = ofType(harness.said(), "CONTROL") as Control[];
  return { harness, attachNonce, control: control! };
}

function reply(id: number, changes: Partial<ControlReply> = {}): ControlReply {
  return { id, error: undefined, events: [], more: false, ...changes };
}

describe("GuestLink of a guest that serves", () => {
  test("asks for its events, and hears the stream begin", () => {
    const { harness, attachNonce, control } = asked();
    using _ = harness;
    expect(control.request).toMatchObject({
      $case: "open",
      value: { events: [{ system: "fake", name: "marker", filter: "value==1", alias: "mine" }] },
    });
    expect(harness.heard).toEqual([]);
    const events = [fakeEvent({ request: 1 })];
    harness.message(
      FrameType.HELLO,
      fakeHello({ attachNonce, twoWay: true, serving: true, events }),
    );
    harness.message(FrameType.CONTROL_REPLY, reply(control.id));
    expect(harness.heard).toEqual(["stream 1"]);
  });

  test("does not attach again while an answer may come, and does once it has not", () => {
    const { harness } = asked();
    using _ = harness;
    expect(ofType(harness.tick(29_000), "ATTACH")).toEqual([]);
    expect(ofType(harness.tick(2_000), "ATTACH")).toHaveLength(1);
  });

  test("asks once for each Attach, however often the guest says that it waits", () => {
    const { harness, attachNonce } = asked();
    using _ = harness;
    for (let i = 0; i < 50; i++) harness.message(FrameType.HELLO, idle(attachNonce));
    for (let i = 0; i < 50; i++) harness.message(FrameType.HELLO, idle(0n));
    expect(ofType(harness.said(), "CONTROL")).toEqual([]);
  });

  test("asks again when the guest's agent was restarted", () => {
    const { harness, attachNonce } = asked();
    using _ = harness;
    const events = [fakeEvent({ request: 1 })];
    harness.message(
      FrameType.HELLO,
      fakeHello({ attachNonce, twoWay: true, serving: true, events }),
    );
    const [attach] = ofType(harness.tick(3001), "ATTACH") as { attachNonce: bigint }[];
    harness.message(FrameType.HELLO, idle(attach!.attachNonce));
    expect(ofType(harness.said(), "CONTROL")).toHaveLength(1);
    expect(harness.link.isStreaming).toBe(false);
  });

  test("ends with what the guest refuses, its caret and its hint", () => {
    const { harness, control } = asked();
    using _ = harness;
    const code = ErrorCode.BAD_FILTER;
    const error = { code, message: "no", hint: "do", text: "value==1", position: 5 };
    harness.message(FrameType.CONTROL_REPLY, reply(control.id + 1, { error }));
    let thrown: unknown;
    try {
      harness.message(FrameType.CONTROL_REPLY, reply(control.id, { error }));
    } catch (caught) {
      thrown = caught;
    }
    expect(thrown).toBeInstanceOf(SourceError);
    expect(thrown).toMatchObject({ hint: "do", text: "value==1", position: 5 });
    expect((thrown as Error).message).toEndWith(" answers: no (BAD_FILTER)");
  });
});

describe("DescribeQuestion", () => {
  test("gathers an answer of several frames", () => {
    const question = new DescribeQuestion("irq:*");
    expect(question.request).toEqual({ $case: "describe", value: { pattern: "irq:*" } });
    question.onReply(reply(1, { events: [fakeEvent()], more: true }));
    expect(question.isAnswered).toBe(false);
    question.onReply(reply(1, { events: [fakeEvent()] }));
    expect([question.isAnswered, question.events.length]).toEqual([true, 2]);
  });

  test("takes no endless answer", () => {
    const question = new DescribeQuestion("");
    const events = new Array<Event>(1000).fill(fakeEvent({ format: new Uint8Array(0) }));
    const flood = (): void => {
      for (let i = 0; i < 100; i++) question.onReply(reply(1, { events, more: true }));
    };
    expect(flood).toThrow(/describes over 16384 events/);
    const big = [fakeEvent({ format: new Uint8Array(2 ** 20) })];
    const bytes = new DescribeQuestion("");
    const weigh = (): void => {
      for (let i = 0; i < 40; i++) bytes.onReply(reply(1, { events: big, more: true }));
    };
    expect(weigh).toThrow(SourceError);
  });
});

describe("openRequest", () => {
  test("openRequest() says of each event what the command line says", () => {
    const specs = parseEventSpecs(
      "a:b/x==1/alias=n/cpus=1-2,4/stack=kernel/max-stack=7/," +
        'uprobe:f+4@"/bin/x y" v=%di:u64//key=_pid/,c:*',
    );
    expect(openRequest(specs, { ...OPTIONS, ringBytes: 8192 })).toMatchObject({
      ringBytes: 8192,
      events: [
        {
          ...{ kind: EventKind.TRACEPOINT, system: "a", name: "b", alias: "n", filter: "x==1" },
          ...{ cpus: [1, 2, 4], callChain: true, callChainPart: 2, maxStack: 7 },
        },
        {
          ...{ kind: EventKind.UPROBE, definition: 'uprobe:f+4@"/bin/x y" v=%di:u64' },
          ...{ threadIds: true, callChain: false },
        },
        { system: "c", name: "*", cpus: [], threadIds: false },
      ],
    });
  });

  test("openRequest() leaves the default size of rings to the guest, and -g is for all", () => {
    const request = openRequest(ASKED, { ...OPTIONS, callChains: true, key: "_pid" });
    expect(request.ringBytes).toBe(0);
    expect(request.events).toMatchObject([{ callChain: true, threadIds: true }]);
  });
});

describe("matchGuestEvents, of events that were asked for", () => {
  const wanted = parseEventSpecs("a:*,a:b/x==1/").map((spec, stage) => ({ stage, spec }));
  const event = (name: string, request: number): Event => fakeEvent({ system: "a", name, request });

  test("goes by the number of the request, where names would not tell", () => {
    const described = [event("b", 1), event("c", 1), event("b", 2)];
    const pairs = matchGuestEvents(wanted, described, "x");
    expect(pairs.map(({ wanted: { stage }, event: { name } }) => `${stage} ${name}`)).toEqual([
      ...["0 b", "0 c", "1 b"],
    ]);
  });

  test("refuses an answer that leaves a request out, or gives other events", () => {
    expect(() => matchGuestEvents(wanted, [event("b", 1)], "x")).toThrow(/it opened nothing/);
    const wrong = [event("b", 1), event("evil", 2)];
    expect(() => matchGuestEvents(wanted, wrong, "x")).toThrow(/it opened a:evil/);
  });
});
