/**
 * System calls of this thread that carry running numbers, made on CPUs that are known, so that each
 * one that was not printed can be told to the row of the ledger which has to count it:
 *
 *   number   0-99   100-199   200-299 ...      printed   0-99 150-299
 *   CPU      0      1         0                missing   CPU 1: 50, so its ledger lost 50
 */
import { onlineCpus } from "../../../shared/event/machine.ts";
import { CpuVisitor } from "../../../shared/sys/affinity.ts";
import { callGetppid } from "../../shared/event/kernel.ts";
import type { JsonOutput } from "./live.ts";

export class NumberedCalls {
  /** As many have been made. */
  count = 0;
  readonly cpus = onlineCpus();
  readonly #visitor = new CpuVisitor();
  /** By number: the CPU on which it was made. */
  #cpuOf = new Uint16Array(1024);

  /** Makes `calls` more, on the CPU whose turn it is, if that can be had now; gives how many. */
  make(calls: number): number {
    const before = this.count;
    const turn = Math.floor(this.count / calls) % this.cpus.length;
    const cpu = this.cpus[turn]!;
    this.#visitor.visit(cpu, () => {
      callGetppid(calls, this.count);
      this.#note(calls, cpu);
    });
    return this.count - before;
  }

  cpuOf(number: number): number {
    return this.#cpuOf[number]!;
  }

  #note(calls: number, cpu: number): void {
    const end = this.count + calls;
    if (end > this.#cpuOf.length) {
      const larger = new Uint16Array(2 * end);
      larger.set(this.#cpuOf);
      this.#cpuOf = larger;
    }
    this.#cpuOf.fill(cpu, this.count, end);
    this.count = end;
  }
}

/** What became of numbered calls, by CPU. */
export interface CallsFound {
  readonly cpu: number;
  readonly made: number;
  readonly printed: number;
  /** Printed more than once, on another CPU, or behind a later one of its CPU. */
  readonly twice: number;
  readonly misplaced: number;
  readonly unordered: number;
  readonly missing: number;
  /** What the ledgers of all streams say. */
  readonly lostKernel: number;
  readonly dropped: number;
  readonly produced: number;
}

/** Looks for each call from number `from` on in what was printed, and sums up the ledgers there. */
export function findCalls(calls: NumberedCalls, output: JsonOutput, from = 0): CallsFound[] {
  const seen = new Uint8Array(calls.count);
  const last = new Map<number, number>();
  const found = new Map(calls.cpus.map((cpu) => [cpu, { twice: 0, misplaced: 0, unordered: 0 }]));
  for (const { cpu, number } of output.calls) {
    const wrong = found.get(calls.cpuOf(number))!;
    if (calls.cpuOf(number) !== cpu) wrong.misplaced++;
    if (seen[number] !== 0) wrong.twice++;
    else if (number < (last.get(cpu) ?? 0)) wrong.unordered++;
    seen[number] = 1;
    last.set(cpu, number);
  }
  return calls.cpus.map((cpu) => {
    let [made, printed] = [0, 0];
    for (let number = from; number < calls.count; number++) {
      if (calls.cpuOf(number) !== cpu) continue;
      made++;
      printed += seen[number]!;
    }
    const rows = output.ledger.filter((row) => row.machine === "guest 1" && row.cpu === cpu);
    const sum = (of: "lost_kernel" | "dropped" | "produced"): number =>
      rows.reduce((total, row) => total + Number(row[of] ?? Number.NaN), 0);
    return {
      ...{ cpu, made, printed, missing: made - printed, ...found.get(cpu)! },
      ...{ lostKernel: sum("lost_kernel"), dropped: sum("dropped"), produced: sum("produced") },
    };
  });
}
