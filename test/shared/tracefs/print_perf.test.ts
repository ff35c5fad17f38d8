// Real events: perf records them, perf script prints them, and so do we from the same file.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { KernelStrings } from "../../../shared/tracefs/kernel_strings.ts";
import { compilePrintFormat, type PrintRenderer } from "../../../shared/tracefs/print_format.ts";
import { KallsymsResolver } from "../../../shared/tracefs/symbols.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { PERF, packagesProblem } from "../../apt.ts";
import { Comparison, comparable } from "./support/explained.ts";
import { readPerfData } from "./support/perf_data.ts";

/** Events that a small workload fires, a few of each subsystem; a kernel may lack some of them. */
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
  const missing = packagesProblem([PERF]);
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
  test("prints every sample of perf.data as perf script does", () => {
    const tracefs = Tracefs.open();
    const shm = statSync("/dev/shm", { throwIfNoEntry: false })?.isDirectory() === true;
    const directory = mkdtempSync(join(shm ? "/dev/shm" : tmpdir(), "vmspan-perf-"));
    try {
      const path = join(directory, "perf.data");
      record(tracefs, path);
      const comparison = compare(tracefs, path);
      comparison.report("perf script on recorded events");
      expect(comparison.compared).toBeGreaterThan(500);
      expect(comparison.events.size).toBeGreaterThan(30);
      expect(comparison.unexplained).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }, 120_000);
});

function record(tracefs: Tracefs, path: string): void {
  const events = EVENTS.trim()
    .split(/\s+/)
    .filter((event) => tracefs.has(event.split(":")[0]!, event.split(":")[1]!));
  const workload = new URL("./support/workload.sh", import.meta.url).pathname;
  const disk = mkdtempSync(join(tmpdir(), "vmspan-poke-"));
  const args = ["record", "-a", "-q", "-m", "256", "-o", path, "-e", events.join(",")];
  // One kind of system call is enough of the busiest events.
  args.push("-e", "raw_syscalls:sys_enter", "--filter", "id == 257");
  args.push("-e", "raw_syscalls:sys_exit", "--filter", "id == 257");
  const run = spawnSync("perf", [...args, "--", "sh", workload, disk], { encoding: "utf8" });
  rmSync(disk, { recursive: true, force: true });
  if (run.status !== 0) throw new Error(`perf record failed: ${run.stderr.slice(0, 500)}`);
}

/** Our texts by time and event; perf script's lines take them away one by one. */
function compare(tracefs: Tracefs, path: string): Comparison {
  const ours = renderAll(tracefs, path);
  const script = spawnSync("perf", ["script", "-i", path, "-F", "time,event,trace", "--ns"], {
    encoding: "latin1",
    maxBuffer: 1 << 30,
  });
  const comparison = new Comparison();
  for (const line of script.stdout.split("\n")) {
    const match = /^\s*(\d+)\.(\d{9}):\s+(\S+): ?(.*)$/.exec(line);
    if (match === null) continue;
    const [, seconds, nanoseconds, event, theirs] = match as unknown as string[];
    const texts = ours.get(`${BigInt(seconds! + nanoseconds!)} ${event}`) ?? [];
    const found = texts.findIndex((text) => comparable(text) === comparable(theirs!));
    const [text] = found >= 0 ? texts.splice(found, 1) : texts;
    comparison.add(event!, text ?? "<no such sample>", theirs!);
  }
  return comparison;
}

function renderAll(tracefs: Tracefs, path: string): Map<string, string[]> {
  const symbols = KallsymsResolver.parse(readFileSync("/proc/kallsyms"));
  const strings = KernelStrings.parse(tracefs.printkFormats());
  const names = new Map<number, string>();
  const printers = new Map<number, PrintRenderer>();
  for (const { system, name } of tracefs.find("*:*")) {
    if (tracefs.has(system, name)) names.set(tracefs.eventId(system, name), `${system}:${name}`);
  }
  const { bytes, view, samples } = readPerfData(path);
  const out = new ByteWriter(1 << 18);
  const texts = new Map<string, string[]>();
  for (const sample of samples) {
    const name = names.get(sample.event);
    if (name === undefined) continue;
    let printer = printers.get(sample.event);
    if (printer === undefined) {
      const [system, event] = name.split(":") as [string, string];
      printer = compilePrintFormat(tracefs.format(system, event), { symbols, strings });
      printers.set(sample.event, printer);
    }
    out.clear();
    printer.render(out, view, bytes, sample.rawOffset, sample.rawBytes);
    const key = `${sample.timeNs} ${name}`;
    const list = texts.get(key);
    if (list === undefined) texts.set(key, [out.toString()]);
    else list.push(out.toString());
  }
  return texts;
}
