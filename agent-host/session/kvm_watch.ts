/**
 * Follows kvm:kvm_write_tsc_offset of one VMM's process: when KVM gave a vCPU another TSC offset,
 * stamped with the host's TSC. debugfs alone is read once a second and would not tell when.
 *
 * The event is opened on all CPUs: it fires for each vCPU that is made or restored and is otherwise
 * rare, and its thread need not exist yet. Records of other processes are passed over.
 */
import { EventSet } from "../../shared/event/event_set.ts";
import { FilterError } from "../../shared/event/filter_error.ts";
import { onlineCpus } from "../../shared/event/machine.ts";
import { resolveEvents } from "../../shared/event/resolve.ts";
import { parseEventSpecs } from "../../shared/event/spec.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { parseFormat } from "../../shared/tracefs/format.ts";
import { Tracefs, TracefsError } from "../../shared/tracefs/tracefs.ts";
import { type HostTsc, hostTsc } from "../../shared/tsc/tsc.ts";
import {
  type KvmWrite,
  type KvmWriteLayout,
  kvmWriteFields,
  readKvmWrites,
} from "../align/kvm_write.ts";
import { sampleLayout } from "../analyze/sample_layout.ts";
import type { HostClock } from "./host_clock.ts";
import { perfMapOf, takeRecords } from "./private_events.ts";

const EVENT = "kvm:kvm_write_tsc_offset";
const RING_BYTES = 16 * 1024;

/** A write of this VM's, and when. */
export interface StampedWrite extends KvmWrite {
  readonly at: HostTsc;
}

export class KvmWatch {
  readonly pid: number;
  readonly #hostClock: HostClock;
  readonly #set: EventSet;
  readonly #layout: KvmWriteLayout;

  /** Opens the event and lets it run. Throws KvmWatchError. */
  constructor(pid: number, hostClock: HostClock) {
    this.pid = pid;
    this.#hostClock = hostClock;
    try {
      const events = resolveEvents(parseEventSpecs(EVENT), Tracefs.open());
      this.#set = new EventSet(events, {
        cpus: onlineCpus(),
        ringBytes: RING_BYTES,
        watermarkBytes: RING_BYTES / 2,
        threadIds: true,
        taskNames: false,
        pid: -1,
      });
      const layout = sampleLayout(this.#set.sampleType, true);
      this.#layout = {
        pidOffset: layout.tasksOffset,
        timeOffset: layout.timeOffset,
        rawSizeOffset: layout.fixedBytes,
        ...kvmWriteFields(parseFormat(events[0]!.formatText)),
      };
      this.#set.enable();
    } catch (error) {
      throw foreseen(error);
    }
  }

  /** Takes what was written since the last call, by time; waits for the host's clock. */
  poll(): StampedWrite[] {
    const map = perfMapOf(this.#set, this.#hostClock);
    if (map === undefined) return [];
    const writes: StampedWrite[] = [];
    for (const { ring } of this.#set.rings) {
      if (ring.refreshHead() === ring.tail) continue;
      for (const write of readKvmWrites(takeRecords(ring), this.#layout)) {
        if (write.pid !== this.pid) continue;
        const { cycles, targetAnchor } = map.convert(write.ns);
        const at = BigInt.asUintN(64, targetAnchor + BigInt(Math.round(cycles)));
        writes.push({ ...write, at: hostTsc(at) });
      }
    }
    return writes.sort((a, b) => (a.at < b.at ? -1 : 1));
  }

  close(): void {
    this.#set.close();
  }
}

/** Changes of the offset can only be seen by reading debugfs again and again. */
export class KvmWatchError extends Error {
  override readonly name = "KvmWatchError";
}

/** Failures of the machine, not of ours. */
function foreseen(error: unknown): unknown {
  const isForeseen =
    error instanceof TracefsError ||
    error instanceof SysError ||
    error instanceof FilterError ||
    typeof (error as NodeJS.ErrnoException).code === "string";
  return isForeseen ? new KvmWatchError((error as Error).message, { cause: error }) : error;
}
