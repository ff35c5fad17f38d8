/**
 * Names for the host's own addresses: its kernel's, out of /proc/kallsyms, and its processes'. Read
 * when the first name is asked for.
 */
import { readFileSync } from "node:fs";
import { UserSymbols } from "../../shared/symbol/user_symbols.ts";
import {
  KallsymsResolver,
  type SymbolHit,
  type SymbolResolver,
} from "../../shared/tracefs/symbols.ts";
import type { ChainSymbols } from "../report/chain_lines.ts";

const HIDDEN =
  "Cannot name kernel addresses: /proc/kallsyms shows them as 0\n" +
  "HINT: run as root, and set /proc/sys/kernel/kptr_restrict to 1 or 0";

export class HostSymbols implements ChainSymbols, SymbolResolver {
  readonly users = new UserSymbols();
  readonly #onFinding: (text: string) => void;
  #kernel: KallsymsResolver | undefined;

  constructor(onFinding: (text: string) => void) {
    this.#onFinding = onFinding;
  }

  kernel(lo: number, hi: number): SymbolHit | undefined {
    this.#kernel ??= this.#readKernel();
    return this.#kernel.lookup(lo, hi);
  }

  /** For print formats: their addresses are the kernel's. */
  lookup(lo: number, hi: number): SymbolHit | undefined {
    return this.kernel(lo, hi);
  }

  user(pid: number, lo: number, hi: number, cycles: number): SymbolHit | undefined {
    return this.users.lookup(pid, (hi >>> 0) * 4294967296 + (lo >>> 0), cycles);
  }

  #readKernel(): KallsymsResolver {
    const kernel = KallsymsResolver.parse(readFileSync("/proc/kallsyms"));
    if (kernel.count === 0) this.#onFinding(HIDDEN);
    return kernel;
  }
}
