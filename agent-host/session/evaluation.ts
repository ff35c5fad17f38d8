/**
 * What expressions on one machine's events may ask beside the record: names of tasks and kernel
 * symbols, system calls of its architecture, and on the host the vCPU that a thread runs.
 */
import { makeEvalFunctions } from "../../shared/expr/functions.ts";
import type { ProgramOptions, VcpuPlace } from "../../shared/expr/program.ts";
import type { SymbolResolver } from "../../shared/tracefs/symbols.ts";
import type { TaskNames } from "./task_names.ts";

/** The task of every idle CPU. */
const IDLE = new TextEncoder().encode("<idle>");

export interface EvaluationParts {
  readonly names: TaskNames;
  readonly symbols: SymbolResolver | undefined;
  /** `uname -m` of the machine. */
  readonly architecture: string;
  readonly placeOf?: (tid: number) => VcpuPlace;
}

export function evaluationOf({
  names,
  symbols,
  architecture,
  placeOf,
}: EvaluationParts): ProgramOptions {
  const functions = makeEvalFunctions({
    symbols,
    comm: (pid, cycles) => (pid === 0 ? IDLE : names.get(pid, cycles)),
    machine: architecture === "aarch64" ? "aarch64" : "x86_64",
  });
  return placeOf === undefined ? { functions } : { functions, placeOf };
}
