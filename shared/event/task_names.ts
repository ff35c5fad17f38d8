/**
 * Names of the tasks that exist when a stream begins; later ones come as COMM and FORK records in
 * the rings. Walking /proc takes a while on a large guest, so it is done in slices.
 */
import { readdirSync, readFileSync } from "node:fs";
import { unlessGone } from "../sys/procfs.ts";

/** Tasks of one snapshot; further ones print as <...> until they exec or fork. */
export const TASK_NAMES_MAX = 32768;
/** Names of one Task message. */
export const TASKS_PER_MESSAGE_MAX = 512;

export interface TaskName {
  readonly pid: number;
  readonly comm: Uint8Array;
}

function threadsOf(pid: string): string[] {
  return unlessGone(() => readdirSync(`/proc/${pid}/task`), []);
}

function commOf(pid: string, tid: string): Uint8Array | undefined {
  const comm = unlessGone(() => readFileSync(`/proc/${pid}/task/${tid}/comm`), undefined);
  return comm?.subarray(0, Math.max(0, comm.length - 1));
}

/**
 * Yields batches of at most TASKS_PER_MESSAGE_MAX names; the caller stops whenever its time is up
 * and goes on later.
 */
export function* snapshotTaskNames(): Generator<TaskName[], void> {
  let batch: TaskName[] = [];
  let total = 0;
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    for (const tid of threadsOf(pid)) {
      const comm = commOf(pid, tid);
      if (comm === undefined || total === TASK_NAMES_MAX) continue;
      total++;
      batch.push({ pid: Number(tid), comm });
      if (batch.length < TASKS_PER_MESSAGE_MAX) continue;
      yield batch;
      batch = [];
    }
    if (total === TASK_NAMES_MAX) break;
  }
  if (batch.length > 0) yield batch;
}
