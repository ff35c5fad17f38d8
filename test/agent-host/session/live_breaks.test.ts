/**
 * multi-trace of a guest whose stream ends and another one follows, and of a flight recorder's
 * dumps: what lies between is missing, so a start from before has no end behind it.
 *
 *   stream 1   7@1.000 s                       --cycle: from each marker to the next of its key
 *   stream 2              7@4.000 s 7@4.001 s  3 s are left out, 1 ms counts
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import type { Hello } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { runAgent } from "../support/agent_process.ts";
import {
  exactClockSample,
  FAKE_EVENT,
  fakeHello,
  join,
  markerRecord,
  StreamWriter,
} from "../support/guest_stream.ts";
import { JsonOutput } from "../support/live.ts";

const MS = 1_000_000;
const CPUS = [0, 1].map((cpu) => ({ cpu, apicId: cpu }));
const STARTS = CPUS.map(({ cpu }) => ({ cpu, position: 0n }));
/** 4800 records. */
const SPAN_BYTES = 48 * 4800;
/** Of exactClockSample(): TSC cycles per ns. */
const GHZ = 2;

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** A recording by the frame; each span goes on where its ring's last one ended. */
class Recording {
  readonly #writer = new StreamWriter();
  readonly #parts: Uint8Array[] = [];
  #positions = [0, 0];

  stream(streamNonce: bigint, more: Partial<Hello> = {}, hasClock = true): void {
    this.#positions = [0, 0];
    const hello = fakeHello({ streamNonce, cpus: CPUS, start: STARTS, ...more });
    this.#parts.push(this.#writer.frame(FrameType.HELLO, hello));
    if (!hasClock) return;
    this.#parts.push(this.#writer.frame(FrameType.CLOCK_SAMPLE, exactClockSample(GHZ)));
  }

  /** Markers of key 7 at these times. */
  markers(cpu: number, ...timesMs: number[]): void {
    const span = timesMs.flatMap((ms) => markerRecord(ms * MS, 7));
    this.#parts.push(this.#writer.samples(cpu, this.#positions[cpu]!, span));
    this.#positions[cpu]! += span.length;
  }

  /** So many of other keys, from 1 us on: what follows is not read in the same turn. */
  bulk(cpu: number, count: number): void {
    const span = Array.from({ length: count }, (_, i) => markerRecord(1000 + i, 100 + i)).flat();
    for (let from = 0; from < span.length; from += SPAN_BYTES) {
      const part = span.slice(from, from + SPAN_BYTES);
      this.#parts.push(this.#writer.samples(cpu, this.#positions[cpu]!, part));
      this.#positions[cpu]! += part.length;
    }
  }

  progress(ms: number): void {
    const tsc = BigInt(ms * MS * GHZ);
    this.#parts.push(this.#writer.frame(FrameType.PROGRESS, { tsc }));
  }

  dump(number: number, completeMs?: number): void {
    const complete = completeMs !== undefined;
    const tsc = BigInt((completeMs ?? 0) * MS * GHZ);
    const mark = { number, trigger: "test", complete, tsc };
    this.#parts.push(this.#writer.frame(FrameType.DUMP, mark));
  }

  /** What multi-trace says of it. */
  async measure(name: string, ...args: string[]) {
    this.#parts.push(this.#writer.goodbye());
    return await this.measureCut(name, ...args);
  }

  /** The same without a goodbye. */
  async measureCut(name: string, ...args: string[]) {
    const file = workspace.file(name);
    writeFileSync(file, join(...this.#parts));
    const stage = `${FAKE_EVENT}//pull="${file}"/key=value/`;
    const command = ["multi-trace", "-e", stage, "--cycle", "--json", ...args];
    const { code, stdout } = await runAgent(workspace, "agent-host", command);
    const output = new JsonOutput(stdout);
    return { code, stdout, latencies: output.latencies };
  }
}

/** Two streams: one marker, and 3 s later two of CPU `cpu`, 1 ms from each other. */
function restarted(cpu: number): Recording {
  const recording = new Recording();
  recording.stream(1n);
  recording.markers(0, 1000);
  recording.progress(1100);
  recording.stream(2n);
  recording.markers(cpu, 4000, 4001);
  recording.progress(4100);
  return recording;
}

describe("multi-trace across the end of a stream", () => {
  for (const cpu of [0, 1]) {
    test(`leaves out what began before it, when CPU ${cpu} goes on`, async () => {
      const { code, latencies } = await restarted(cpu).measure(`restart-${cpu}.vms`);
      expect(code).toBe(EXIT.DONE);
      expect(latencies).toMatchObject([
        { calls: 1, max_ns: MS, left_out: 1, left_out_max_ns: 3000 * MS, lost_events: 0 },
      ]);
    });
  }

  test("leaves out what ended before it, when another CPU had not come as far", async () => {
    const recording = new Recording();
    recording.stream(1n);
    recording.markers(0, 1000);
    recording.markers(1, 1050);
    recording.progress(1100);
    recording.markers(0, 1200, 1300);
    recording.stream(2n);
    recording.markers(0, 4000, 4001);
    recording.progress(4100);
    const { latencies } = await recording.measure("tail.vms");
    expect(latencies).toMatchObject([{ calls: 2, max_ns: 50 * MS, left_out: 3 }]);
  });

  test.each([0, 60_000])(
    "leaves out what ended behind what a cut recording vouches for, after %d events",
    async (count) => {
      const recording = new Recording();
      recording.stream(1n);
      recording.bulk(1, count);
      recording.markers(1, 1000, 1050);
      recording.progress(1100);
      recording.markers(0, 1200, 1300);
      const { code, latencies } = await recording.measureCut(`cut-${count}.vms`);
      expect(code).toBe(EXIT.SOURCE);
      expect(latencies).toMatchObject([{ calls: 1, max_ns: 50 * MS, left_out: 2 }]);
    },
  );

  test("a pair that may be none is shown by --than, and crosses nothing", async () => {
    const { code, stdout, latencies } = await restarted(0).measure("than.vms", "--than", "1s");
    expect(code).toBe(EXIT.DONE);
    expect(stdout).toContain('"spans_loss":true');
    expect(latencies).toMatchObject([{ over: 0, left_out: 1 }]);
    const crossed = await restarted(0).measure("crossed.vms", "--than", "500us");
    expect(crossed.code).toBe(EXIT.THRESHOLD);
    expect(crossed.latencies).toMatchObject([{ over: 1, left_out: 1 }]);
  });

  test("what never got a clock before its stream ended is counted as lost", async () => {
    const recording = new Recording();
    recording.stream(1n);
    recording.markers(0, 1000);
    recording.progress(1100);
    recording.stream(2n, {}, false);
    recording.markers(0, 2000, 2001);
    recording.stream(3n);
    recording.markers(0, 4000, 4001);
    const { latencies } = await recording.measure("clockless.vms");
    expect(latencies).toMatchObject([{ calls: 1, left_out: 1, lost_events: 2 }]);
  });
});

describe("multi-trace of a recording of dumps", () => {
  test("leaves out what began in the dump before, and counts what lies within one", async () => {
    const recording = new Recording();
    recording.stream(1n, { overwrite: true });
    recording.dump(1);
    recording.markers(0, 1000, 1002);
    recording.markers(1, 1500);
    recording.dump(1, 2000);
    recording.dump(2);
    recording.markers(0, 3_600_000, 3_600_001);
    recording.dump(2, 3_700_000);
    const { code, latencies } = await recording.measure("dumps.vms");
    expect(code).toBe(EXIT.DONE);
    expect(latencies).toMatchObject([
      { calls: 3, max_ns: 498 * MS, left_out: 1, left_out_max_ns: 3_598_500 * MS },
    ]);
  });

  test("a dump that is announced again after a break of the link is one dump", async () => {
    const recording = new Recording();
    recording.stream(1n, { overwrite: true });
    recording.dump(1);
    recording.markers(0, 1000);
    recording.dump(1);
    recording.markers(0, 1002);
    recording.dump(1, 2000);
    const { latencies } = await recording.measure("again.vms");
    expect(latencies).toMatchObject([{ calls: 1, left_out: 0 }]);
  });
});
