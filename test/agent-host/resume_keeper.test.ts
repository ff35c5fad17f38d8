/** --resume's file beside guests that have not come, and output that is on its way. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { Source } from "../../agent-host/link/source.ts";
import { ResumeFile, type SourceResume } from "../../agent-host/resume_file.ts";
import { ResumeKeeper } from "../../agent-host/resume_keeper.ts";
import { Guest } from "../../agent-host/session/guest.ts";
import { Session } from "../../agent-host/session/session.ts";
import { parseEventSpecs } from "../../shared/event/spec.ts";
import { listenOn } from "../../shared/sys/socket.ts";
import { waitUntil } from "../vm/deadline.ts";
import { Workspace } from "../vm/workspace.ts";
import { common, plainSample } from "./analyze/record_bytes.ts";
import { startAgent } from "./support/agent_process.ts";
import { FakeGuest } from "./support/fake_guest.ts";
import { FAKE_EVENT, FAKE_TYPE, nowNs } from "./support/guest_stream.ts";

const DEADLINE_MS = 20_000;
/** A sample of the event with this much raw data: more of them than a host keeps waiting. */
const RAW_BYTES = 32_764;
const LARGE_RECORDS = 2000;
const LARGE_RECORD = Uint8Array.from(
  plainSample(nowNs(), [...common(FAKE_TYPE, 1), ...new Array(RAW_BYTES - 8).fill(0)]),
);

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

describe("ResumeKeeper", () => {
  test("leaves what an earlier run has told of a guest that has not come yet", () => {
    const path = workspace.file("silent");
    const listener = listenOn({ kind: "unix", path });
    const source = new Source({
      kind: "socket",
      name: `unix:${path}`,
      candidates: [{ kind: "unix", path }],
    });
    const counts = { samples: 960, lostEvents: 3, droppedEvents: 2, gapBytes: 8 };
    const row = { cpu: 0, position: 480, delivered: 5, lostKernel: 1, gapBytes: 0, drops: [] };
    const earlier: SourceResume = {
      name: source.name,
      streamNonce: 0x89ab_cdefn,
      cpus: [{ cpu: 0, position: 76_800, shown: 12, ...counts }],
      completeNs: 1_764_104_423_123_456_789n,
      ended: [
        { first: 1, last: 1, rows: [{ ...row, produced: undefined }], completeNs: undefined },
      ],
    };
    const file = workspace.file("resume");
    writeFileSync(file, '{"version":1,"sources":[]}');
    new ResumeFile(file).save([earlier]);
    const resume = new ResumeFile(file);
    const request = { ringBytes: 4096, callChains: false, key: undefined };
    const options = { ...request, agentVersion: "test", onStatus: () => {}, resume };
    const wanted = [{ stage: 0, spec: parseEventSpecs(`${FAKE_EVENT}//`)[0]! }];
    const guest = new Guest(new Session(undefined), 1, source, wanted, undefined, options);
    const keeper = new ResumeKeeper(
      resume,
      [guest],
      () => undefined,
      () => {},
    );
    keeper.begin();
    expect(new ResumeFile(file).of(source.name)).toEqual(earlier);
    keeper.end(false, () => {});
    expect(new ResumeFile(file).of(source.name)).toEqual(earlier);
    guest.close();
    listener.close();
  });

  test("says nothing of lines that have not been written out", async () => {
    const guest = await FakeGuest.listen({ path: workspace.file("ahead") }, { twoWay: true });
    const [out, file] = [workspace.file("out"), workspace.file("ahead.resume")];
    const place = `unix:${workspace.file("ahead")}`;
    const args = ["trace", "-e", `${FAKE_EVENT}//pull="${place}"/`, "--json", "--resume", file];
    const stdoutFd = openSync(out, "a");
    const host = startAgent(workspace, "agent-host", args, { stdoutFd });
    closeSync(stdoutFd);
    const peer = await guest.attached();
    await host.said(/^Tracing$/m);
    // More than waits for the guest to say how far it is, which it never does.
    for (let i = 0, position = 0; i < LARGE_RECORDS; i++, position += LARGE_RECORD.length) {
      peer.samples(0, position, LARGE_RECORD);
    }
    const written = (): { bytes: number; records: number } => {
      const { output, sources } = JSON.parse(readFileSync(file, "utf8"));
      const [cpu] = sources[0].cpus;
      return { bytes: output.bytes, records: (cpu?.samples ?? 0) + (cpu?.shown ?? 0) };
    };
    await waitUntil(() => written().records > 0, DEADLINE_MS, "lines in the file of --resume");
    await host.stop("SIGKILL");
    const { bytes, records } = written();
    const lines = readFileSync(out, "latin1").slice(0, bytes).split("\n").length - 1;
    expect(lines).toBe(records);
    await guest[Symbol.asyncDispose]();
  });
});
