// Real events: perf records them, perf script prints them, and so do we from the same file.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TaskNames } from "../../../agent-host/session/task_names.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { PERF, packagesProblem } from "../../apt.ts";
import { NIGHTLY, perNight } from "../../nightly.ts";
import { Comparison, comparable } from "./support/explained.ts";
import { type PerfData, readPerfData, type TaskRecord } from "./support/perf_data.ts";
import { Printers, staticSystems } from "./support/printers.ts";
import {
  buildWorkload,
  FEW_PROCESSES,
  isLoud,
  RECORDING_LOCK,
  RECORDING_TIMEOUT_MS,
  workloadProblem,
} from "./workload/workload.ts";

/** Events that the workload fires, a few of each subsystem; a kernel may lack some of them. */
const EVENTS = `
sched:sched_switch sched:sched_waking sched:sched_wakeup sched:sched_wakeup_new sched:sched_process_fork
sched:sched_process_exec sched:sched_process_exit sched:sched_process_wait sched:sched_stat_runtime
sched:sched_migrate_task irq:softirq_raise irq:softirq_entry irq:softirq_exit irq:irq_handler_entry
irq:irq_handler_exit timer:timer_start timer:timer_cancel timer:timer_expire_entry timer:hrtimer_start
timer:hrtimer_cancel timer:hrtimer_expire_entry timer:itimer_state signal:signal_generate
signal:signal_deliver task:task_newtask task:task_rename block:block_bio_queue block:block_rq_issue
block:block_rq_complete block:block_touch_buffer ext4:ext4_da_write_begin ext4:ext4_da_write_end
ext4:ext4_es_insert_extent ext4:ext4_ext_map_blocks_exit ext4:ext4_mballoc_prealloc
ext4:ext4_writepages ext4:ext4_journal_start_inode ext4:ext4_unlink_enter ext4:ext4_mark_inode_dirty
net:net_dev_queue net:net_dev_xmit net:netif_rx net:net_dev_start_xmit sock:inet_sock_set_state
sock:sock_send_length sock:sk_data_ready skb:consume_skb skb:kfree_skb tcp:tcp_probe
tcp:tcp_destroy_sock fib:fib_table_lookup napi:napi_poll kmem:kmalloc kmem:mm_page_alloc
filemap:mm_filemap_add_to_page_cache filemap:mm_filemap_fault pagemap:mm_lru_activate
writeback:writeback_mark_inode_dirty writeback:writeback_single_inode writeback:writeback_dirty_folio
writeback:global_dirty_state workqueue:workqueue_queue_work workqueue:workqueue_execute_start
workqueue:workqueue_execute_end mmap:vm_unmapped_area mmap_lock:mmap_lock_acquire_returned
maple_tree:ma_op tlb:tlb_flush ipi:ipi_send_cpu csd:csd_function_entry power:cpu_idle
msr:write_msr percpu:percpu_alloc_percpu capability:cap_capable notifier:notifier_run
timestamp:ctime_ns_xchg readahead:page_cache_ra_order syscalls:sys_enter_openat
syscalls:sys_exit_openat syscalls:sys_enter_mmap syscalls:sys_enter_clone
`;

function whyNot(): string {
  const missing = packagesProblem([PERF]) || workloadProblem();
  if (missing !== "") return missing;
  try {
    Tracefs.open();
  } catch (error) {
    if (error instanceof TracefsError) return error.message;
    throw error;
  }
  const probe = spawnSync("perf", [
    "record",
    "-q",
    "-o",
    "/dev/null",
    "-e",
    "sched:sched_switch",
    "true",
  ]);
  return probe.status === 0 ? "" : "perf cannot record tracepoints here";
}

const problem = whyNot();
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("compilePrintFormat() on recorded events", () => {
  test(
    "prints every sample of perf.data as perf script does",
    () => {
      const tracefs = Tracefs.open();
      const shm = statSync("/dev/shm", { throwIfNoEntry: false })?.isDirectory() === true;
      const directory = mkdtempSync(join(shm ? "/dev/shm" : tmpdir(), "vmspan-perf-"));
      try {
        const printers = new Printers(tracefs, staticSystems(tracefs));
        const path = join(directory, "perf.data");
        record(printers, directory, path);
        const { texts, heads } = compare(printers, readPerfData(path), path);
        texts.report("perf script");
        heads.report("perf script: comm and CPU");
        expect(texts.compared).toBeGreaterThan(500);
        expect(texts.events.size).toBeGreaterThan(30);
        expect(texts.unexplained).toEqual([]);
        expect(heads.unexplained).toEqual([]);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
    perNight(120_000, 600_000),
  );
});

/** The kernel refuses to sample it: a sample ends with an irq_work, whose end would be sampled. */
const REFUSED = "irq_vectors:irq_work_exit";
/** Of each system that EVENTS does not name, so many. perf needs 10 to 30 ms for each event. */
const EVENTS_PER_SYSTEM = perNight(2, 1000);

function chooseEvents(names: readonly string[]): string[] {
  const chosen = new Set(
    EVENTS.trim()
      .split(/\s+/)
      .filter((event) => names.includes(event)),
  );
  const systems = Map.groupBy(names, (name) => name.slice(0, name.indexOf(":")));
  for (const [system, events] of systems) {
    const isCovered = !NIGHTLY && [...chosen].some((event) => event.startsWith(`${system}:`));
    if (!isCovered) for (const event of events.slice(0, EVENTS_PER_SYSTEM)) chosen.add(event);
  }
  chosen.delete(REFUSED);
  return [...chosen];
}

function record(printers: Printers, directory: string, path: string): void {
  const { command } = buildWorkload(directory);
  const events = chooseEvents(printers.names);
  const args = ["record", "-a", "-q", "-m", "256", "-o", path];
  args.push("-e", events.filter((event) => !isLoud(event)).join(","));
  for (const event of events.filter(isLoud)) args.push("-e", event, "--filter", FEW_PROCESSES);
  const run = spawnSync("flock", [RECORDING_LOCK, "perf", ...args, "--", ...command], {
    encoding: "utf8",
    timeout: perNight(RECORDING_TIMEOUT_MS, 4 * RECORDING_TIMEOUT_MS),
  });
  if (run.status !== 0) throw new Error(`perf record failed: ${run.stderr.slice(-500)}`);
}

interface Ours {
  readonly text: string;
  readonly head: string;
}

/** Our texts by time and event; perf script's lines take them away one by one. */
function compare(
  printers: Printers,
  data: PerfData,
  path: string,
): { readonly texts: Comparison; readonly heads: Comparison } {
  const ours = printAll(printers, data);
  const texts = new Comparison();
  const heads = new Comparison();
  const left = new Map([...ours].map(([key, list]) => [key, list.length]));
  for (const { key, event, head, text } of readScript(path)) {
    const list = ours.get(key) ?? [];
    const found = list.findIndex((entry) => comparable(entry.text) === comparable(text));
    const [entry] = list.splice(Math.max(0, found), 1);
    texts.add(event, entry?.text ?? "<no such sample>", text);
    heads.add(event, entry?.head ?? "<no such sample>", head);
    left.set(key, list.length);
  }
  for (const [key, count] of left) if (count > 0) texts.unexplained.push(`only ours: ${key}`);
  return { texts, heads };
}

/** Every sample with the name that its task had then, as the agents keep them. */
function printAll(printers: Printers, data: PerfData): Map<string, Ours[]> {
  const names = new TaskNames();
  const byTime = [...data.samples, ...data.tasks].sort((a, b) => Number(a.timeNs - b.timeNs));
  const texts = new Map<string, Ours[]>();
  for (const entry of byTime) {
    if ("kind" in entry) {
      noteTask(names, entry);
      continue;
    }
    const { name, text } = printers.print(data, entry);
    const comm = names.get(entry.tid, Number(entry.timeNs));
    const shown = comm === undefined ? `:${entry.tid}` : new TextDecoder("latin1").decode(comm);
    const head = `${entry.tid === 0 ? "swapper" : shown} ${entry.tid} ${entry.cpu}`;
    const key = `${entry.timeNs} ${name}`;
    const list = texts.get(key);
    if (list === undefined) texts.set(key, [{ text, head }]);
    else list.push({ text, head });
  }
  return texts;
}

function noteTask(names: TaskNames, record: TaskRecord): void {
  const since = record.timeNs === 0n ? -Infinity : Number(record.timeNs);
  if (record.kind === "comm") names.set(record.tid, record.comm, 0, record.comm.length, since);
  else if (record.kind === "fork") names.fork(record.tid, record.parent, since);
  else names.exit(record.tid, since);
}

interface ScriptLine {
  readonly key: string;
  readonly event: string;
  readonly head: string;
  text: string;
}

/** "            perf 17063 [001]  1488.665277123:  sched:sched_waking: comm=..." */
const LINE = /^(.*?) +(-?\d+) +\[(\d+)\] +(\d+)\.(\d{9}): +(\S+): ?(.*)$/s;

function readScript(path: string): ScriptLine[] {
  const fields = ["-F", "comm,tid,cpu,time,event,trace", "--ns"];
  const script = spawnSync("perf", ["script", "-i", path, ...fields], {
    encoding: "latin1",
    maxBuffer: 2 ** 31 - 1,
  });
  const lines: ScriptLine[] = [];
  for (const line of script.stdout.split("\n")) {
    const match = LINE.exec(line);
    const last = lines.at(-1);
    if (match === null) {
      // A text of several lines.
      if (last !== undefined && line !== "") last.text += `\n${line}`;
      continue;
    }
    const [, comm, tid, cpu, seconds, nanoseconds, event, text] = match as unknown as string[];
    const key = `${BigInt(seconds! + nanoseconds!)} ${event}`;
    const head = `${comm!.trimStart()} ${tid} ${Number(cpu)}`;
    lines.push({ key, event: event!, head, text: text! });
  }
  return lines;
}
