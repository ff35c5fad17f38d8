/**
 * agent-guest trace --overwrite on one CPU, on which the test makes its numbered calls: so it is
 * known to the event what its ring holds.
 */
import { onlineCpus } from "../../../shared/event/machine.ts";
import { CpuVisitor } from "../../../shared/sys/affinity.ts";
import { callGetpgrp, callGetppid, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { startTraceOf, type Trace } from "./trace.ts";

const [CPU] = onlineCpus() as [number];
const RING_PAGES = 16;
/** A sample of sys_enter: header, time, size, 64 bytes of raw data and 4 of padding. */
const SAMPLE_BYTES = 88;
/** Records at the old end that are not believed (shared/perf/backward_ring.ts). */
const RESERVED = 4;
/** Samples that a ring keeps which has been filled; its first bytes may be of task records. */
export function capacityOf(pages: number): number {
  return Math.floor((pages * 4096) / SAMPLE_BYTES - RESERVED);
}

export const CAPACITY = capacityOf(RING_PAGES);

/** Makes numbered calls where the recorder records. */
export function fire(count: number, from: number): void {
  new CpuVisitor().visit(CPU, () => callGetppid(count, from));
}

/** Calls of another kind, for an event that triggers. */
export function fireTrigger(): void {
  new CpuVisitor().visit(CPU, () => callGetpgrp(1));
}

/** Records this thread's calls; `push` may hold FOLDER. Further `-e` may be given. */
export async function startRecorder(
  push: string,
  events: readonly string[] = [],
  pages = RING_PAGES,
): Promise<Trace> {
  const trace = await startTraceOf(
    ({ path }) =>
      [OWN_GETPPID(), ...events].map((event) => `${event}push="${push.replace("FOLDER", path)}"/`),
    ["--overwrite", "-m", `${pages}`, "-C", `${CPU}`],
    true,
  );
  try {
    await trace.agent.said(/^Recording /m);
    return trace;
  } catch (error) {
    await trace[Symbol.asyncDispose]();
    throw error;
  }
}
