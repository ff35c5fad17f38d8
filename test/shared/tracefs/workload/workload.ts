// The workload of the differential tests: makes as many different tracepoints fire as this machine
// has (scheduler, irq, timers, block, ext4, xfs, btrfs, net, signals, kmem, reclaim, cgroups, kvm,
// every system call, ...) and ends after some seconds.
//
//   const workload = buildWorkload(directory);
//   spawnSync("perf", ["record", ..., "--", ...workload.command])
//
// It runs in mount, network and PID namespaces of its own and dies with the one who started it.

import { spawnSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  BTRFS_PROGS,
  E2FSPROGS,
  GCC,
  IPROUTE,
  LIBC_DEV,
  packagesProblem,
  XFSPROGS,
} from "../../../apt.ts";

const HERE = new URL(".", import.meta.url).pathname;
/** Recordings of the whole machine exclude each other: `flock` this file around them. */
export const RECORDING_LOCK = "/run/lock/vmspan-recording.lock";
/** A recording with its workload is over by then. */
export const RECORDING_TIMEOUT_MS = 120_000;

/**
 * Events that fire tens of thousands of times each second here: recorded for every 32nd process
 * only, so that a recording stays small.
 */
const LOUD_EVENTS = new RegExp(
  `^(${[
    "memcg:(mod_memcg_.*|count_memcg_events)",
    "kmem:(mm_page_(free|alloc|free_batched|pcpu_drain|alloc_zone_locked)|rss_stat|kmem_cache_.*)",
    "kmem:(kmalloc|kfree)",
    "pagemap:mm_lru_(insertion|activate)",
    "exceptions:page_fault_.*",
    "raw_syscalls:.*",
    "syscalls:sys_(enter|exit)_(getppid|futex|read|write|openat|close|mmap|fstat|newfstatat|poll|ppoll)",
    "syscalls:sys_(enter|exit)_(madvise|clock_nanosleep|epoll_.*|rt_sig.*|mprotect|munmap|pread64)",
    "filemap:mm_filemap_(delete_from|add_to|map_pages|get_pages|fault).*",
    "capability:.*",
    "rcu:.*",
    "tlb:.*",
    "migrate:(set|remove)_migration_pte",
    "sched:sched_(stat_runtime|switch|wakeup|waking)",
    "maple_tree:.*",
    "x86_fpu:.*",
    "rseq:.*",
    "mmap_lock:.*",
    "csd:.*",
    "ipi:.*",
    "msr:.*",
    "block:block_(dirty_buffer|touch_buffer)",
    "timer:(hrtimer_.*|timer_.*|tick_stop)",
    "timestamp:.*",
    "ext4:ext4_(release_folio|es_lookup_extent_.*|da_reserve_space|es_insert_delayed_extent)",
    "vmscan:mm_(vmscan_write_folio|shrink_slab_.*)",
    "irq:softirq_.*",
    "mmap:vm_unmapped_area",
    "syscalls:sys_(enter|exit)_(newfstat|getdents64|fcntl|dup2|readlink|recvfrom|sendto)",
    "irq_vectors:.*",
    "power:cpu_idle",
    "timer_migration:.*",
    "skb:.*",
  ].join("|")})$`,
);

/** True for every 32nd process. */
export const FEW_PROCESSES = [1, 2, 4, 8, 16].map((bit) => `!(common_pid & ${bit})`).join(" && ");

export interface Workload {
  readonly command: readonly string[];
}

/** Why the workload cannot run here, or "". */
export function workloadProblem(): string {
  const missing = packagesProblem([GCC, LIBC_DEV, IPROUTE, E2FSPROGS, XFSPROGS, BTRFS_PROGS]);
  if (missing !== "") return missing;
  if (process.getuid?.() !== 0) return "the workload wants root";
  const probe = spawnSync("unshare", ["-m", "-n", "-p", "-f", "true"]);
  return probe.status === 0 ? "" : "no namespaces on this machine";
}

/** Compiles it into a directory of the caller's. Throws when that fails. */
export function buildWorkload(directory: string): Workload {
  const poke = join(directory, "poke");
  const sources = globSync("*.c", { cwd: HERE }).map((name) => join(HERE, name));
  const built = spawnSync("gcc", ["-O1", "-w", "-o", poke, ...sources, "-lpthread"], {
    encoding: "utf8",
  });
  if (built.status !== 0) throw new Error(`cannot build the workload: ${built.stderr.slice(-500)}`);
  const work = join(directory, "work");
  mkdirSync(work, { recursive: true });
  const namespaces = ["unshare", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc"];
  return { command: [...namespaces, "sh", join(HERE, "poke.sh"), poke, work] };
}

/** Whether an event ("sched:sched_switch") is recorded for a few processes only. */
export function isLoud(event: string): boolean {
  return LOUD_EVENTS.test(event);
}
