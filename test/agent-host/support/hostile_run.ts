/** agent-host attached to a guest played by the test, which then breaks the rules. */
import { expect } from "bun:test";
import type { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "./agent_process.ts";
import { FakeGuest, type FakePeer, type GuestManners } from "./fake_guest.ts";
import { FAKE_EVENT, markerRecord, nowNs } from "./guest_stream.ts";

/** The value of the record that shows that the host goes on. */
export const GOOD = 999;
const RESIDENT_BYTES_MAX = 256 * 1024 * 1024;
/** Of a core, over the whole run, starting included. */
const CPU_SECONDS_MAX = 5;
let sockets = 0;

/** A guest, and agent-host that traces its event. */
export async function attachTo(workspace: Workspace, manners: GuestManners = {}) {
  const path = workspace.file(`${sockets++}.sock`);
  const guest = await FakeGuest.listen({ path }, { twoWay: true, ...manners });
  const args = ["trace", "-e", `${FAKE_EVENT}//pull=unix:${path}/`];
  const host = startAgent(workspace, "agent-host", args);
  const peer = await guest.attached();
  await host.said(/^Tracing$/m);
  return { guest, host, peer };
}

/** A sound record, its span at `position`, and the host's word that it came. */
export async function expectGoesOn(
  host: AgentProcess,
  peer: FakePeer,
  position: number,
): Promise<void> {
  peer.samples(0, position, markerRecord(nowNs(), GOOD));
  const timer = setInterval(() => peer.progress(), 20);
  try {
    await host.showed(new RegExp(`value=${GOOD}\\b`));
  } finally {
    clearInterval(timer);
  }
  expect(host.residentBytes()).toBeLessThan(RESIDENT_BYTES_MAX);
  expect(host.cpuSeconds()).toBeLessThan(CPU_SECONDS_MAX);
}
