/** --resume's file beside guests that have not come, and output that is on its way. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { Source } from "../../agent-host/link/source.ts";
import { ResumeFile, type SourceResume } from "../../agent-host/resume_file.ts";
import { ResumeKeeper } from "../../agent-host/resume_keeper.ts";
import { Guest } from "../../agent-host/session/guest.ts";
import { Session } from "../../agent-host/session/session.ts";
import { parseEventSpecs } from "../../shared/event/spec.ts";
import { listenOn } from "../../shared/sys/socket.ts";
import { Workspace } from "../vm/workspace.ts";
import { FAKE_EVENT } from "./support/guest_stream.ts";

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
    const keeper = new ResumeKeeper(resume, [guest], () => undefined);
    keeper.begin();
    expect(new ResumeFile(file).of(source.name)).toEqual(earlier);
    keeper.end(false, () => {});
    expect(new ResumeFile(file).of(source.name)).toEqual(earlier);
    guest.close();
    listener.close();
  });
});
