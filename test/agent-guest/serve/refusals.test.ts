/**
 * What a guest that serves must not give: each limit of its configuration crossed once, and
 * requests that make no sense. Nothing is open afterwards, and the answer says which limit it was.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { FrameType } from "../../../shared/wire/frame.ts";
import { type Control, ErrorCode, EventKind } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { NO_TRACING } from "../../shared/event/kernel.ts";
import { GuestClient } from "../support/guest_client.ts";
import { eventRequest, ownCalls, perfEventsOf, ServedHost, startServe } from "../support/serve.ts";
import { StreamReader } from "../support/stream_reader.ts";
import { startTrace } from "../support/trace.ts";

setDefaultTimeout(60_000);

/** Requests that cross one limit each, and what they are told. */
const REFUSALS: readonly (readonly [
  string,
  readonly string[],
  Parameters<ServedHost["open"]>,
  Record<string, unknown>,
])[] = [
  [
    "more events than --max-events",
    ["--max-events", "2"],
    [[eventRequest("irq", "*")]],
    {
      code: ErrorCode.LIMIT,
      message: expect.stringMatching(/^Cannot open \d+ events: .* allows 2$/),
    },
  ],
  [
    "rings over --max-ring",
    ["--max-ring", "64kB"],
    [[ownCalls()], 128 * 1024],
    {
      code: ErrorCode.LIMIT,
      message: "Cannot open rings of 131072 bytes: this guest allows 65536",
      hint: expect.stringMatching(/^-m 16, or raise max-ring/),
    },
  ],
  ["rings of no power of two", [], [[ownCalls()], 12_345], { code: ErrorCode.BAD_REQUEST }],
  [
    "an event that --allow leaves out",
    ["--allow", "irq,block:*"],
    [[eventRequest("sched", "sched_switch")]],
    {
      code: ErrorCode.PERMISSION,
      message: "Cannot open sched:sched_switch: this guest does not allow it",
    },
  ],
  [
    "an event of --deny, by wildcard",
    ["--deny", "sched:*"],
    [[eventRequest("sched", "sched_w*")]],
    { code: ErrorCode.PERMISSION },
  ],
  [
    "a probe without --allow-probes",
    [],
    [
      [
        eventRequest("uprobe", "main", {
          kind: EventKind.UPROBE,
          definition: "uprobe:main@/bin/ls",
        }),
      ],
    ],
    {
      code: ErrorCode.PERMISSION,
      message: "Cannot make a probe for the host: this guest does not allow probes",
    },
  ],
  [
    "a probe with something else behind it",
    ["--allow-probes"],
    [[eventRequest("uprobe", "main", { kind: EventKind.UPROBE, definition: "irq:*" })]],
    { code: ErrorCode.BAD_REQUEST },
  ],
  [
    "an event that there is not",
    [],
    [[eventRequest("irq", "irq_handler_enty")]],
    { code: ErrorCode.UNKNOWN_EVENT, hint: "did you mean irq:irq_handler_entry?" },
  ],
  [
    "a filter that is none",
    [],
    [[eventRequest("irq", "irq_handler_entry", { filter: "irq==1 && nofield==2" })]],
    { code: ErrorCode.BAD_FILTER, text: "irq==1 && nofield==2", position: 10 },
  ],
  [
    "a filter that is too long",
    [],
    [[eventRequest("irq", "irq_handler_entry", { filter: "irq==1||".repeat(1000) })]],
    { code: ErrorCode.BAD_REQUEST },
  ],
  [
    "a name that is a path",
    [],
    [[eventRequest("irq", "../sched")]],
    { code: ErrorCode.BAD_REQUEST },
  ],
  ["no event at all", [], [[]], { code: ErrorCode.BAD_REQUEST }],
];

describe.skipIf(NO_TRACING !== "")("Server, asked for what it must not give", () => {
  test.each(REFUSALS)("%s", async (_what, args, request, error) => {
    await using served = await startServe(args);
    const host = await served.attach();
    expect(await host.open(...request)).toMatchObject({ error });
    expect(perfEventsOf(served)).toBe(0);
    host.client.close();
  });

  test("a wildcard opens what is allowed of it", async () => {
    await using served = await startServe(["--allow", "irq", "--deny", "irq:softirq_*"]);
    const host = await served.attach();
    await host.begin([eventRequest("irq", "*")]);
    const names = host.reader.events.map(({ name }) => name);
    expect(names).toContain("irq_handler_entry");
    expect(names.some((name) => name.startsWith("softirq_"))).toBe(false);
    const { events } = await host.ask({ $case: "list", value: { pattern: "*:*" } });
    expect(events.map(({ name }) => name)).toEqual(names);
    host.client.close();
  });

  test("what a host sends is no line of its own in the agent's output, and nothing to obey", async () => {
    await using served = await startServe();
    const host = await served.attach();
    const pattern = "x:\x1b[2J\n\nagent-guest: ERROR: \x9ball is lost\r";
    expect((await host.ask({ $case: "list", value: { pattern } })).error).toBeDefined();
    const filter = 'comm~"*a\x1b[2J\nERROR"';
    await host.open([eventRequest("sched", "sched_process_exec", { filter })]);
    await host.open([eventRequest("task", "task_rename", { filter: 'oldcomm~"*a\x1b\nERROR"' })]);
    await served.said("Refused a request of the host: Cannot find ");
    await served.said("HINT: the kernel looks for oldcomm");
    expect(served.agent.stderr).not.toMatch(/[^\P{Cc}\n]/u);
    expect(served.agent.stderr).not.toMatch(/^(agent-guest: )?ERROR/m);
    host.client.close();
  });

  test("fixed events answer requests with what would serve them", async () => {
    await using trace = await startTrace("unix:FOLDER/s");
    const path = trace.workspace.file("s");
    const host = new ServedHost(GuestClient.connect({ kind: "unix", path }, new StreamReader()));
    host.client.attach();
    await host.client.untilSampling();
    const request: Control["request"] = { $case: "list", value: { pattern: "" } };
    expect((await host.ask(request)).error).toMatchObject({
      code: ErrorCode.UNSUPPORTED,
      hint: "start it as agent-guest serve",
    });
    expect(host.reader.frameTypes).toContain(FrameType.HELLO);
    host.client.close();
  });
});
