/**
 * agent-host and guests whose streams break every rule: what cannot be used is skipped and named at
 * the end, what comes after it is used, memory and CPU stay bounded.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import { lostRecord, u64 } from "../analyze/record_bytes.ts";
import { startAgent } from "../support/agent_process.ts";
import { FakeGuest, type FakePeer, type GuestManners } from "../support/fake_guest.ts";
import { fakeEvent, markerRecord, nowNs } from "../support/guest_stream.ts";
import { attachTo, expectGoesOn, GOOD } from "../support/hostile_run.ts";

const ESCAPES = "\x1b[2J\x07";
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Case {
  readonly name: string;
  /** Leaves ring 0 at a position where a record may begin, and gives it. */
  act(peer: FakePeer): number;
  /** What stderr says at the end. */
  readonly says: RegExp;
  readonly code?: number;
  readonly manners?: GuestManners;
}

/** A record whose header claims another size. */
function withSize(size: number): number[] {
  const record = markerRecord(nowNs(), 1);
  record[6] = size & 0xff;
  record[7] = size >>> 8;
  return record;
}

/** A record whose raw data claims another size. */
function withRawSize(size: number): number[] {
  const record = markerRecord(nowNs(), 1);
  record.splice(16, 4, size & 0xff, (size >>> 8) & 0xff, (size >>> 16) & 0xff, size >>> 24);
  return record;
}

const RECORD_CASES: readonly Case[] = [
  ...[0, 4, 7, 12].map((size) => ({
    name: `a record of ${size} bytes`,
    act: (peer: FakePeer): number => {
      peer.samples(0, 0, withSize(size));
      return 48;
    },
    says: /^WARNING: guest 1 sent what it should not: 48 bytes from an impossible record on$/m,
    code: EXIT.SOURCE,
  })),
  ...[0x7fffffff, 0xffffffff, 0, 7, 29].map((size) => ({
    name: `raw data of ${size} bytes`,
    act: (peer: FakePeer): number => {
      peer.samples(0, 0, withRawSize(size));
      return 48;
    },
    says: /^WARNING: guest 1 .*: 1 samples that contradict themselves$/m,
  })),
  {
    name: "a record that runs over the end of its span, and never ends",
    act: (peer) => {
      peer.samples(0, 0, withSize(0xfff8));
      peer.samples(0, 48, new Array(0xfff8).fill(0), false);
      return 48 + 0xfff8;
    },
    says: /^ledger: /m,
    code: EXIT.SOURCE,
  },
  {
    name: "4 billion lost events, and more",
    act: (peer) => {
      const span = [...lostRecord(2 ** 53, u64(nowNs())), ...lostRecord(1, u64(nowNs()))];
      peer.samples(0, 0, span);
      return span.length;
    },
    says: /lost by the kernel/,
  },
  {
    name: "samples stamped long ago",
    act: (peer) => {
      const now = nowNs();
      const times = [now, now - 5e9, 0, now - 1e12];
      const span = times.flatMap((time, i) => markerRecord(time, i));
      peer.samples(0, 0, span);
      return span.length;
    },
    says: /^WARNING: guest 1 .*: 3 samples from before those in front of them$/m,
  },
  {
    name: "samples stamped far in the future",
    act: (peer) => {
      const span = [nowNs() + 1e15, 2 ** 62].flatMap((time, i) => markerRecord(time, i));
      peer.samples(0, 0, span);
      return span.length;
    },
    says: /^WARNING: guest 1 .* 2 samples from the future$/m,
  },
];

const SPAN_CASES: readonly Case[] = [
  {
    name: "spans that overlap and go back",
    act: (peer) => {
      peer.samples(0, 0, markerRecord(nowNs(), 1));
      peer.samples(0, 0, markerRecord(nowNs(), 2));
      peer.samples(0, 24, markerRecord(nowNs(), 3), false);
      peer.samples(0, 0, markerRecord(nowNs(), 4));
      return 72;
    },
    says: /^ledger: /m,
    code: EXIT.SOURCE,
  },
  {
    name: "a gap",
    act: (peer) => {
      peer.samples(0, 4800, markerRecord(nowNs(), 1));
      return 4848;
    },
    says: /4800 bytes of its ring never came$/m,
    code: EXIT.SOURCE,
  },
  {
    name: "a span that begins within a record",
    act: (peer) => {
      peer.samples(0, 480, markerRecord(nowNs(), 1), false);
      return 528;
    },
    says: /48 bytes in which no record is known to begin/,
    code: EXIT.SOURCE,
  },
  {
    name: "spans of CPUs that it did not name",
    act: (peer) => {
      for (let cpu = 1; cpu < 1000; cpu++) peer.samples(cpu, 0, markerRecord(nowNs(), cpu));
      peer.samples(8000, 0, markerRecord(nowNs(), 8000));
      return 0;
    },
    says: /^WARNING: guest 1 .*: 1000 spans of CPUs that it did not name$/m,
  },
  {
    name: "empty spans",
    act: (peer) => {
      for (let i = 0; i < 1000; i++) peer.samples(0, 0, []);
      return 0;
    },
    says: /^ledger: /m,
  },
];

const FRAME_CASES: readonly Case[] = [
  {
    name: "garbage between its frames",
    act: (peer) => {
      peer.send(new Uint8Array(100_000).fill(0x56));
      return 0;
    },
    says: /^WARNING: guest 1 sent what it should not: 100000 bytes of no frame$/m,
  },
  {
    name: "frames that are not what their type says",
    act: (peer) => {
      for (let type = 1; type <= 16; type++) {
        const body = new Uint8Array(64).fill(0xff);
        peer.send(peer.writer.header(type, body.length));
        peer.send(body);
      }
      return 0;
    },
    says: /^WARNING: guest 1 .*: \d+ frames that only a host sends, \d+ unreadable frames$/m,
  },
  {
    name: "frames of unknown types",
    act: (peer) => {
      for (let type = 200; type < 210; type++) peer.send(peer.writer.header(type, 0));
      return 0;
    },
    says: /^WARNING: guest 1 .*: 10 frames of unknown types/m,
  },
  {
    name: "clocks that cannot be",
    act: (peer) => {
      const base = { cpu: 0, epoch: 0, realtimeNs: 2n ** 64n - 1n, realtimeTsc: 0n };
      const exact = { timeZero: 2n ** 64n - 1n, mult: 0, shift: 4_000_000_000 };
      const backwards = { tscBefore: 2n ** 63n, perfNs: 1n, tscAfter: 5n };
      for (const conversion of [
        { $case: "exact", value: exact } as const,
        { $case: "fitted", value: backwards } as const,
        undefined,
      ]) {
        peer.send(peer.writer.frame(FrameType.CLOCK_SAMPLE, { ...base, conversion }));
      }
      peer.clock();
      return 0;
    },
    says: /^WARNING: guest 1 .*\d readings that no clock shows/m,
  },
  {
    name: "names of 200,000 tasks",
    act: (peer) => {
      for (let at = 0; at < 200_000; at += 2000) {
        const tasks = Array.from({ length: 2000 }, (_, i) => ({ pid: at + i, comm: bytes("x") }));
        peer.send(peer.writer.frame(FrameType.TASK, { tasks }));
      }
      return 0;
    },
    says: /^WARNING: guest 1 .*: 134464 names of tasks over the limit$/m,
  },
  {
    name: "answers to pings that were never sent",
    act: (peer) => {
      for (let seq = 0; seq < 200; seq++) {
        const stamps = { echoTsc: BigInt(seq) << 55n, receivedTsc: 5n, sentTsc: 2n ** 63n };
        peer.send(peer.writer.frame(FrameType.PONG, { seq, ...stamps }));
      }
      return 0;
    },
    says: /^WARNING: guest 1 .*\d+ answers to pings that were not sent$/m,
  },
  {
    name: "progress that runs ahead, and back",
    act: (peer) => {
      peer.progress(2n ** 64n - 1n);
      peer.progress(peer.tsc() + 2n ** 42n);
      peer.progress(0n);
      return 0;
    },
    says: /^WARNING: guest 1 .*: 1 times in the future up to which all was sent$/m,
  },
];

for (const [title, cases] of [
  ["records", RECORD_CASES],
  ["spans", SPAN_CASES],
  ["frames", FRAME_CASES],
] as const) {
  describe(`agent-host goes on after ${title}:`, () => {
    for (const { name, act, says, code, manners } of cases) {
      test(name, async () => {
        const { guest, host, peer } = await attachTo(workspace, manners);
        await using _ = guest;
        const position = act(peer);
        await expectGoesOn(host, peer, position);
        const ending = await host.stop("SIGINT");
        expect(host.stderr).toMatch(says);
        expect(ending).toMatchObject({ code: code ?? EXIT.DONE });
        expect(host.stderr).not.toContain("BUG");
      });
    }
  });
}

/** Nothing but printable characters and line ends. */
function expectClean(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\xff]/);
}

describe("text that a guest chose", () => {
  const nasty = { system: `fa${ESCAPES}ke`, name: `ma"\\${ESCAPES}rk`, alias: `al${ESCAPES}as` };
  const totals = () => [
    {
      cpu: 0,
      produced: 3n,
      lostKernel: 0n,
      drops: [{ place: `pl${ESCAPES}ace`, events: 2n, bytes: 9n }],
      headPosition: 48n,
      sentPosition: 48n,
      ackedPosition: 48n,
    },
  ];

  for (const isJson of [false, true]) {
    test(`is escaped as ${isJson ? "JSON" : "text"}: names, comm, strings, places`, async () => {
      const path = workspace.file(`text-${isJson}.sock`);
      const hello = { events: [fakeEvent(nasty)], hostname: ESCAPES, bootId: ESCAPES };
      const manners = { twoWay: true, hello, totals };
      await using guest = await FakeGuest.listen({ path }, manners);
      const json = isJson ? ["--json"] : [];
      const args = ["trace", "-e", `*:*//pull=unix:${path}/`, "-N", "1", ...json];
      const host = startAgent(workspace, "agent-host", args);
      const peer = await guest.attached();
      await host.said(/^Tracing$/m);
      const tasks = [{ pid: 77, comm: bytes(`a${ESCAPES}b\xff`) }];
      peer.send(peer.writer.frame(FrameType.TASK, { tasks }));
      peer.samples(0, 0, markerRecord(nowNs(), GOOD, `t${ESCAPES}"\\\n`));
      const timer = setInterval(() => peer.progress(), 20);
      const ending = await host.end();
      clearInterval(timer);
      expect(ending).toMatchObject({ code: EXIT.DONE });
      expectClean(host.stdout);
      expectClean(host.stderr);
      if (!isJson) {
        expect(host.stdout).toMatch(
          / a\\x1b\[2J\\x07b\S* +77 .* value=999 text=t\\x1b\[2J\\x07"\\/,
        );
        expect(host.stderr).toContain("pl?[2J?ace 2");
        return;
      }
      const objects = host.stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(objects[0]).toMatchObject({ fields: { value: 999, text: `t${ESCAPES}"\\\n` } });
      expect(objects.at(-1)).toMatchObject({ type: "ledger_verdict", state: "balances" });
    });
  }
});
