/**
 * Call chains that perf recorded, decoded and named by us, against what perf script says of the
 * same file: kernel and user frames, short-lived processes, a program with known functions.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ChainWriter } from "../../../agent-host/report/chain_lines.ts";
import { HostSymbols } from "../../../agent-host/session/host_symbols.ts";
import { GCC, LIBC_DEV, PERF, packagesProblem } from "../../apt.ts";
import { ABC_CALLS, ABC_FRAMES, ABC_NUMBER, buildAbcProgram } from "../support/abc_program.ts";
import { visitPerfSamples } from "../support/perf_chains.ts";
import { textOf } from "./lines.ts";

const EVENTS = "sched:sched_switch,sched:sched_waking,irq:softirq_entry,timer:hrtimer_start";
/** Forks, execs and a program of ours: processes that are gone when their chains are printed. */
const WORKLOAD = 'for i in 1 2 3 4 5 6 7 8; do "$1"; ls /usr/bin >/dev/null; sleep 0.02; done';

interface Frame {
  readonly ip: string;
  readonly what: string;
}

/** "\\tffffffff821f8b58 __schedule+0x618 ([kernel.kallsyms])" */
function frameOf(line: string): Frame | undefined {
  const match = /^\s+([0-9a-f]+) (.*)$/.exec(line);
  return match === null ? undefined : { ip: match[1]!, what: match[2]! };
}

const NAMED = /^(\S+)\+0x([0-9a-f]+) \((.*)\)$/;

/** Whether two names of one place begin one within the other: "label+0x2 (F)", "whole+0x8 (F)". */
function isWithin(label: string, whole: string): boolean {
  const [inner, outer] = [NAMED.exec(label), NAMED.exec(whole)];
  if (inner === null || outer === null || inner[3] !== outer[3]) return false;
  return Number.parseInt(inner[2]!, 16) < Number.parseInt(outer[2]!, 16);
}

/** Whether theirs is a table in the code, where ours says that there is no function. */
function isData(ours: string, theirs: string): boolean {
  const [, name, , path] = NAMED.exec(theirs) ?? [];
  if (name === undefined || ours !== `[unknown] (${path})`) return false;
  const { stdout } = spawnSync("readelf", ["-sW", path!], { encoding: "utf8", maxBuffer: 1 << 28 });
  return stdout.split("\n").some((line) => / OBJECT /.test(line) && line.endsWith(` ${name}`));
}

/** Where the two may differ, and why. */
function explain(ours: Frame, theirs: Frame): string | undefined {
  // perf appends the versions of symbols that it finds in .symtab of debug files: name@@GLIBC_2.34.
  if (ours.what === theirs.what.replace(/@+[A-Za-z0-9_.]+(\+0x)/, "$1")) return "version";
  if (/@plt\+0x/.test(theirs.what)) return "perf makes up names for the linkage table";
  if (theirs.what.includes("[vdso]") && ours.what.includes("[vdso]")) return "alias in the vDSO";
  // bpf programs have maps of their own in perf; kallsyms says who they are too.
  if (/\[bpf\]|bpf_prog_/.test(ours.what + theirs.what)) return "bpf program";
  // perf has no way to a file without a name.
  if (ours.what.endsWith(" (deleted))")) return "deleted file";
  // A child that has mapped nothing yet runs in its parent's memory, whenever that became known.
  if (theirs.what === "[unknown] ([unknown])") return "mapping that perf has not met yet";
  // Its symbols overlap then, and which it meets first depends on the others.
  if (isWithin(theirs.what, ours.what)) return "perf names a label within the function";
  if (isData(ours.what, theirs.what)) return "perf names data between functions";
  // perf names anonymous memory after the map that its program could have written.
  const isAnonymous = ours.what === "[unknown] (//anon)";
  if (isAnonymous && /^\[unknown\] \(\/tmp\/perf-\d+\.map\)$/.test(theirs.what)) return "no map";
  return undefined;
}

const problem = packagesProblem([PERF, GCC, LIBC_DEV]);
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("call chains of perf.data", () => {
  let folder: string;
  let chains: Map<string, Frame[][]>;
  let script: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "vmspan-chains-"));
    const program = join(folder, "abc");
    buildAbcProgram(program);
    const path = join(folder, "perf.data");
    const events = ["-e", EVENTS, "-e", "raw_syscalls:sys_enter", "--filter", `id==${ABC_NUMBER}`];
    const record = ["record", "-q", "-a", "-g", "-m", "1024", "-o", path, ...events];
    const run = spawnSync("perf", [...record, "--", "sh", "-c", WORKLOAD, "sh", program]);
    expect(run.status).toBe(0);
    chains = new Map();
    const symbols = new HostSymbols(console.log);
    const writer = new ChainWriter();
    const counters = visitPerfSamples(path, symbols, (view) => {
      const text = textOf((out) => writer.writeLines(out, view, symbols));
      const frames = text.split("\n").flatMap((line) => frameOf(line) ?? []);
      const key = `${view.timeCycles}`;
      const known = chains.get(key);
      if (known === undefined) chains.set(key, [frames]);
      else known.push(frames);
    });
    expect(counters.malformedSamples).toBe(0);
    expect(counters.unknownEvents).toBe(0);
    const fields = ["-F", "time,event,ip,sym,symoff,dso", "--ns", "--no-demangle"];
    const theirs = spawnSync("perf", ["script", "-i", path, ...fields], {
      encoding: "latin1",
      maxBuffer: 1 << 30,
    });
    script = theirs.stdout;
  }, 60_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("are printed as perf script prints them, frame by frame", () => {
    const count = { compared: 0, equal: 0, explained: 0, frames: 0 };
    const explained = new Map<string, number>();
    const unexplained: string[] = [];
    const left = new Map([...chains].map(([time, list]) => [time, [...list]]));
    for (const block of script.split("\n\n")) {
      const lines = block.split("\n");
      const head = /^\s*(\d+)\.(\d{9}):/.exec(lines[0] ?? "");
      if (head === null) continue;
      const theirs = lines.slice(1).flatMap((line) => frameOf(line) ?? []);
      if (theirs.length === 0) continue;
      const ours = take(left, Number(head[1]! + head[2]!), theirs);
      count.compared++;
      let isEqual = ours.length === theirs.length;
      let isExplained = isEqual;
      for (const [i, frame] of theirs.entries()) {
        const own = ours[i] ?? { ip: "", what: "" };
        count.frames++;
        // perf prints offsets in files for addresses of user space.
        const sameIp = own.ip === frame.ip || !frame.ip.startsWith("ffff");
        if (own.what === frame.what && sameIp) continue;
        isEqual = false;
        const why = sameIp ? explain(own, frame) : undefined;
        if (why === undefined) {
          isExplained = false;
          unexplained.push(`ours   ${own.ip} ${own.what}\ntheirs ${frame.ip} ${frame.what}`);
        } else explained.set(why, (explained.get(why) ?? 0) + 1);
      }
      if (isEqual) count.equal++;
      else if (isExplained) count.explained++;
    }
    const { compared, equal, frames } = count;
    console.log(
      `chains: ${compared} compared, ${equal} equal, ${count.explained} explained; ${frames} frames` +
        [...explained].map(([why, n]) => `\n  ${n} frames: ${why}`).join(""),
    );
    expect(unexplained.slice(0, 9)).toEqual([]);
    expect(compared).toBeGreaterThan(200);
    // How many frames of other people's programs lie in memory without a file varies.
    const differing = [...explained.values()].reduce((sum, n) => sum + n, 0);
    expect(differing).toBeLessThan(frames / 2);
  });

  test("show main() => a() => b() => c() of a program that has ended since", () => {
    const ours = [...chains.values()].flat().map((frames) =>
      frames
        .filter(({ what }) => what.endsWith("/abc)"))
        .map(({ what }) => what.split("+")[0])
        .join(" "),
    );
    // Eight runs; an interrupt may have met it there too.
    const whole = ours.filter((names) => names === ABC_FRAMES.join(" "));
    expect(whole.length).toBeGreaterThanOrEqual(8 * ABC_CALLS);
  });
});

/** The chain of a time, of several the one that is most like theirs; it is used once. */
function take(left: Map<string, Frame[][]>, time: number, theirs: readonly Frame[]): Frame[] {
  const list = left.get(`${time}`) ?? [];
  const likeness = (frames: readonly Frame[]): number =>
    frames.filter(({ what }, i) => what === theirs[i]?.what).length;
  const best = list.reduce((a, b) => (likeness(b) > likeness(a) ? b : a), list[0] ?? []);
  list.splice(list.indexOf(best), 1);
  return best;
}
