/** agent-host and guests whose streams begin anew, again and again, or as others than before. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import { fakeEvent, fakeHello, markerRecord, nowNs } from "../support/guest_stream.ts";
import { attachTo, expectGoesOn } from "../support/hostile_run.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

describe("a stream that begins anew", () => {
  test("goes on with the same events", async () => {
    const { guest, host, peer } = await attachTo(workspace);
    await using _ = guest;
    await expectGoesOn(host, peer, 0);
    const again = fakeHello({ streamNonce: 77n, start: [{ cpu: 0, position: 960n }] });
    peer.send(peer.writer.frame(FrameType.HELLO, again));
    peer.clock();
    const timer = setInterval(() => peer.progress(), 20);
    peer.samples(0, 960, markerRecord(nowNs(), 123));
    await host.showed(/value=123\b/);
    clearInterval(timer);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
  });

  for (const [name, changes] of [
    ["other events", { name: "another" }],
    ["another layout", { sampleType: 0x10404n, ids: [1n] }],
    ["another format", { commonType: 7 }],
  ] as const) {
    test(`ends the run when it has ${name}, after the results so far`, async () => {
      const { guest, host, peer } = await attachTo(workspace);
      await using _ = guest;
      await expectGoesOn(host, peer, 0);
      const events = [fakeEvent(changes)];
      peer.send(peer.writer.frame(FrameType.HELLO, fakeHello({ streamNonce: 77n, events })));
      expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
      expect(host.stderr).toMatch(/^ledger: .* 1 delivered/m);
      expect(host.stderr).toMatch(/^agent-host: ERROR: Cannot (go on with|pull) /m);
    });
  }

  test("with ever new CPUs ends when there were over 1024, after the results so far", async () => {
    const { guest, host, peer } = await attachTo(workspace);
    await using _ = guest;
    await expectGoesOn(host, peer, 0);
    for (let stream = 1; stream <= 6; stream++) {
      const cpus = Array.from({ length: 800 }, (_, i) => ({ cpu: 800 * stream + i }));
      const hello = fakeHello({ streamNonce: BigInt(stream + 100), cpus, start: [] });
      peer.send(peer.writer.frame(FrameType.HELLO, hello));
      peer.clock();
      for (const { cpu } of cpus) peer.samples(cpu, 0, markerRecord(nowNs(), 1));
    }
    expect(await host.end()).toMatchObject({ code: EXIT.SOURCE });
    expect(host.stderr).toMatch(/^ledger: /m);
    expect(host.stderr).toMatch(
      /^agent-host: ERROR: Cannot use \S+: it has had 1601 CPUs, wants at most 1024$/m,
    );
  });

  test("again and again costs neither memory nor the process", async () => {
    const { guest, host, peer } = await attachTo(workspace);
    await using _ = guest;
    for (let i = 0; i < 500; i++) {
      peer.send(peer.writer.frame(FrameType.HELLO, fakeHello({ streamNonce: BigInt(i + 100) })));
      peer.samples(0, 0, markerRecord(nowNs(), i));
    }
    peer.clock();
    await expectGoesOn(host, peer, 48);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
  });
});
