/**
 * agent-host and peers that do not speak its protocol: garbage, silence, closing, over tcp and
 * unix. It ends with exit code 4 and says what it met, or waits, says so, and ends at SIGINT; it
 * never spins. (Its ancestor hangs at 100 % of a CPU on most of these, deaf to SIGINT and SIGTERM.)
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FRAME_PAYLOAD_BYTES_MAX, FrameType, writeU32 } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { FakeGuest, type FakePeer } from "../support/fake_guest.ts";
import { FAKE_EVENT, join, StreamWriter } from "../support/guest_stream.ts";

const MIB = 1024 * 1024;
/** Of a core: idle rounds take some 2 %, a loop that spins takes all of it. */
const CPU_SHARE_MAX = 0.5;
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** The same in each run, and without the four bytes of a frame's magic. */
function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  let state = 12345;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}

/** A true header whose length was enlarged behind its back: its check no longer holds. */
function headerWithLength(payloadBytes: number): Uint8Array {
  const bytes = new StreamWriter().header(FrameType.HELLO, 0);
  writeU32(bytes, 8, payloadBytes);
  return bytes;
}

const GARBAGE: readonly (readonly [name: string, bytes: Uint8Array])[] = [
  ["1 MiB of random bytes", randomBytes(MIB)],
  ["1 MiB of zeros", new Uint8Array(MIB)],
  ["1 MiB of 0xff", new Uint8Array(MIB).fill(0xff)],
  ["HTTP", new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")],
  ["a frame that ends in its header", new StreamWriter().header(FrameType.HELLO, 1).slice(0, 9)],
  ["a frame that ends in its payload", new StreamWriter().header(FrameType.HELLO, 4096)],
  ["a header that claims 4 GiB", headerWithLength(0xffffffff)],
  ["a magic and nothing else, again and again", new TextEncoder().encode("VMSP".repeat(MIB / 4))],
];

type Transport = "tcp" | "unix";

/** A peer that only does what the test does, and agent-host connected to it. */
async function connect(transport: Transport) {
  const path = workspace.file(`${sockets++}.sock`);
  const where = transport === "tcp" ? { port: 0 } : { path };
  const guest = await FakeGuest.listen(where, { isSilent: true });
  const source = transport === "tcp" ? `${guest.port}` : `unix:${path}`;
  const host = startAgent(workspace, "agent-host", [
    "trace",
    "-e",
    `${FAKE_EVENT}//pull=${source}/`,
  ]);
  const peer: FakePeer = await guest.connected();
  return { guest, host, peer, startMs: performance.now() };
}

function expectIdle(host: AgentProcess, startMs: number): void {
  const seconds = (performance.now() - startMs) / 1000;
  expect(host.cpuSeconds()).toBeLessThan(seconds * CPU_SHARE_MAX + 1);
}

for (const transport of ["tcp", "unix"] as const) {
  describe(`over ${transport}, agent-host`, () => {
    for (const [name, bytes] of GARBAGE) {
      test(`refuses ${name}, then the end`, async () => {
        const { guest, host, peer } = await connect(transport);
        await using _ = guest;
        peer.send(bytes);
        peer.socket.end();
        expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
        expect(host.stdout).toBe("");
        expect(host.stderr).toMatch(
          /^Connected to \S+\nagent-host: ERROR: Cannot pull from \S+: it closed the connection after \d+ bytes of something else\nHINT: .*\n$/,
        );
      });
    }

    test("refuses a peer that closes at once", async () => {
      const { guest, host, peer } = await connect(transport);
      await using _ = guest;
      peer.socket.end();
      expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
      expect(host.stderr).toContain("it closed the connection without a word\n");
    });

    test("waits for a peer that says nothing, says so after two seconds, ends at SIGINT", async () => {
      const { guest, host, startMs } = await connect(transport);
      await using _ = guest;
      await host.said(
        /^Waiting for agent-guest behind \S+ \(it is connected, and nothing answers/m,
      );
      expectIdle(host, startMs);
      expect(await host.stop("SIGINT")).toMatchObject({ code: EXIT.SOURCE });
      expect(host.stderr).toMatch(
        /^agent-host: ERROR: Cannot pull from \S+ after [\d.]+ s: waiting for .*nothing answers/m,
      );
      expect(host.stderr).toMatch(/^HINT: .*agent-guest serve/m);
    });
  });
}

test("agent-host says what came while it waits, and does not spin over it", async () => {
  const { guest, host, peer, startMs } = await connect("tcp");
  await using _ = guest;
  peer.send(join(randomBytes(MIB), new StreamWriter().header(FrameType.HELLO, 4096)));
  await host.said(/^Waiting for .*and \d{7} bytes of something else came\)/m);
  expectIdle(host, startMs);
  expect(await host.stop("SIGTERM")).toMatchObject({ code: EXIT.SOURCE });
});

test("agent-host gives a peer up that sends garbage without end", async () => {
  const { guest, host, peer } = await connect("unix");
  await using _ = guest;
  for (let i = 0; i < 10; i++) peer.send(randomBytes(MIB));
  expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
  expect(host.stderr).toMatch(
    /Cannot pull from \S+: \d{7} bytes came, and none of agent-guest's$/m,
  );
});

test("agent-host survives unknown frames of the largest size", async () => {
  const { guest, host, peer } = await connect("unix");
  await using _ = guest;
  const writer = new StreamWriter();
  for (let i = 0; i < 4; i++) {
    peer.send(join(writer.header(200, FRAME_PAYLOAD_BYTES_MAX), new Uint8Array(MIB)));
  }
  peer.socket.end();
  expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
});
