/**
 * The agent apart from its throughput: how soon it sees the first event, and what it costs when
 * nothing happens.
 */
import { closeSync, existsSync, openSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FrameType } from "../../shared/wire/frame.ts";
import { FrameDecoder } from "../../shared/wire/frame_decoder.ts";
import { agentCommand, agentGuest } from "./agent.ts";
import { blockMs, residentBytes } from "./kernel.ts";
import type { Load } from "./program.ts";
import { SamplerError, SamplerProcess } from "./sampler.ts";

const FIRST_EVENT_DEADLINE_MS = 10_000;
/** Idle is what comes after the first seconds, in which clocks are related and code is compiled. */
const SETTLE_MS = 8_000;
/** Few enough that no ring reaches its watermark: what a user of a rare event sees. */
const EVENTS_PER_SECOND = 1000;

/** Reads what has been added to a file, until a Samples frame is complete. */
class SamplesWatch {
  readonly #path: string;
  readonly #decoder = new FrameDecoder();
  #fd = -1;

  constructor(path: string) {
    this.#path = path;
  }

  hasSamples(): boolean {
    if (this.#fd < 0) {
      if (!existsSync(this.#path)) return false;
      this.#fd = openSync(this.#path, "r");
    }
    const room = this.#decoder.reserve();
    this.#decoder.commit(readSync(this.#fd, room, 0, room.length, null));
    let frame = this.#decoder.next();
    while (frame !== undefined && frame.type !== FrameType.SAMPLES) frame = this.#decoder.next();
    return frame !== undefined;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
  }
}

/** Milliseconds from the start of the process to the first sample in its file. */
export async function measureFirstEvent(load: Load, folder: string): Promise<number> {
  const path = join(folder, "first.vms");
  const log = join(folder, "first.log");
  // The load runs meanwhile; it is paced by sleeping, so that it leaves its CPU to this process.
  const running = load.run((EVENTS_PER_SECOND * FIRST_EVENT_DEADLINE_MS) / 1000, EVENTS_PER_SECOND);
  const watch = new SamplesWatch(path);
  const startMs = performance.now();
  const agent = new SamplerProcess("agent-guest", agentCommand(load.tid, `"${path}"`), log);
  try {
    while (!watch.hasSamples()) {
      if (performance.now() - startMs > FIRST_EVENT_DEADLINE_MS) {
        throw new SamplerError(`"agent-guest" wrote no sample: ${agent.log.trim()}`);
      }
      blockMs(1);
    }
    const firstMs = performance.now() - startMs;
    agent.stop();
    return firstMs;
  } finally {
    agent.kill();
    watch.close();
    rmSync(path, { force: true });
    load.interrupt();
    await running;
  }
}

export interface IdleCost {
  /** Share of one core, in percent. */
  readonly cpuPercent: number;
  readonly bytesPerSecond: number;
  readonly residentBytes: number;
}

/** What an attached agent costs for `seconds`, with its events open and nothing to sample. */
export async function measureIdle(load: Load, folder: string, seconds: number): Promise<IdleCost> {
  const running = await agentGuest("unix", folder).start(load.tid);
  try {
    await running.process.ready(running.hasEvents);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const startMs = performance.now();
    const startNs = running.process.cpuNs;
    const startBytes = running.process.written.bytes;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const elapsedNs = (performance.now() - startMs) * 1e6;
    const bytes = running.process.written.bytes - startBytes;
    const cost = {
      cpuPercent: ((running.process.cpuNs - startNs) / elapsedNs) * 100,
      bytesPerSecond: (bytes / elapsedNs) * 1e9,
      residentBytes: residentBytes(running.process.pid),
    };
    running.process.stop();
    await running.outcome();
    return cost;
  } catch (error) {
    running.abort();
    throw error;
  }
}
