/**
 * A bug of ours that the bytes of one guest lead into: it is told as such, with its stack and exit
 * code 70, that guest is gone, and the others' results are what they would have been.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import { startAgent } from "../support/agent_process.ts";
import { FakeGuest, type FakePeer } from "../support/fake_guest.ts";
import { FAKE_EVENT, markerRecord, nowNs } from "../support/guest_stream.ts";

const SABOTAGE = join(import.meta.dirname, "../hostile_guest/sabotage.ts");
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function sabotage(peer: FakePeer, place: string): void {
  const positions = { fromPosition: 0n, toPosition: 0n };
  peer.send(
    peer.writer.frame(FrameType.LOST, { cpu: 0, place, events: 1n, bytes: 0n, ...positions }),
  );
}

test("a bug costs the guest that leads into it, and the last one only its end", async () => {
  const names = ["serve", "settle", "good"];
  const paths = names.map((name) => workspace.file(`${name}.sock`));
  await using serve = await FakeGuest.listen({ path: paths[0]! }, { twoWay: true });
  await using settle = await FakeGuest.listen({ path: paths[1]! }, { twoWay: true });
  await using good = await FakeGuest.listen({ path: paths[2]! }, { twoWay: true });
  const events = paths.flatMap((path) => ["-e", `${FAKE_EVENT}//pull=unix:${path}/`]);
  const host = startAgent(workspace, "agent-host", ["trace", ...events, "--keep-privileges"], {
    env: { BUN_OPTIONS: `--preload=${SABOTAGE}` },
  });
  const peers = [await serve.attached(), await settle.attached(), await good.attached()] as const;
  const timer = setInterval(() => {
    for (const peer of peers) peer.progress();
  }, 20);
  try {
    await host.said(/^Tracing$/m);
    for (const [i, peer] of peers.entries()) peer.samples(0, 0, markerRecord(nowNs(), 100 + i));
    for (const value of [100, 101, 102]) await host.showed(new RegExp(`value=${value}\\b`));
    sabotage(peers[0], "serve");
    await host.said(/^agent-host: BUG: Cannot go on with \S+serve\.sock: sabotaged\?\[2J$/m);
    sabotage(peers[1], "settle");
    await host.said(/^Going on without \S+settle\.sock$/m);
    peers[2].samples(0, 48, markerRecord(nowNs(), 999));
    await host.showed(/value=999\b/);
    sabotage(peers[2], "settle");
    expect(await host.end()).toMatchObject({ code: EXIT.BUG });
  } finally {
    clearInterval(timer);
  }
  const values = [...host.stdout.matchAll(/value=(\d+)/g)].map((match) => Number(match[1]));
  expect(values.toSorted()).toEqual([100, 101, 102, 999]);
  expect(host.stderr).toMatch(/^ledger: .* 4 delivered/m);
  // With the place where it happened, and of the last one at the end.
  expect(host.stderr).toMatch(/serve\.sock: sabotaged\?\[2J\n.*\n +at .*sabotage\.ts:\d+/);
  expect(host.stderr).toMatch(/good\.sock: Cannot settle: sabotaged\n.*\n +at .*sabotage\.ts:\d+/);
  expect(host.stderr).not.toContain("\x1b");
  expect(host.stderr.match(/^agent-host: BUG: /gm)).toHaveLength(3);
});
