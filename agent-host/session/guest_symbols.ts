/**
 * Names for one guest's addresses, out of what the guest sends: its kernel's functions as a whole,
 * its processes' as they are met. Whatever a guest says is only ever shown as that guest's symbol.
 *
 *   host                                        guest
 *     Symbols{request{kernel}}  ------------>             once, when something prints addresses
 *              <------------  Symbols{kernel} ..., Symbols{kernel_end}, Symbols{end}
 *     Symbols{request{maps_of, code}}  ----->             frames that were decoded and have no name
 *              <------------  Symbols{maps}, Symbols{functions}, Symbols{end}
 *
 * Events are not printed before their names are there, or have been waited for long enough: the
 * guest's progress is held back to the first event that waits.
 */

import { SymbolPieceError, SymbolPieceReader } from "../../shared/symbol/symbol_pieces.ts";
import { UserSymbols } from "../../shared/symbol/user_symbols.ts";
import type { KallsymsResolver, SymbolHit, SymbolResolver } from "../../shared/tracefs/symbols.ts";
import type { SymbolRequest, Symbols } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { visitFrames } from "../analyze/call_chain.ts";
import type { Chunk } from "../analyze/chunk.ts";
import { EventView } from "../analyze/event_view.ts";
import type { ChainSymbols } from "../report/chain_lines.ts";
import { RemoteProcesses } from "./remote_processes.ts";
import type { ChunkProgram } from "./ring_intake.ts";

/** How long events wait for an answer that does not come, or stops coming. */
export const ANSWER_MS_MAX = 3000;
/**
 * How long any event waits, whatever comes meanwhile: an answer without end would hold up all.
 * A guest that takes longer is not asked any more.
 */
export const NAMES_MS_MAX = 30_000;
/** Frames that wait for their names; further ones are printed without. */
export const WAITING_FRAMES_MAX = 16_384;

const TWO_32 = 4294967296;

/** What the guest's stream is like. */
export interface SymbolNeeds {
  /** Something prints addresses of the guest's kernel. */
  readonly kernel: boolean;
  /** Call chains have a user part that is printed. */
  readonly users: boolean;
  /** The guest can be asked. */
  readonly isTwoWay: boolean;
  /** The guest sends its kernel's functions unasked. */
  readonly isKernelComing: boolean;
  /** The stream is a recording: it is read to its end, however long that takes. */
  readonly isFile: boolean;
}

/** Sends a request. */
export type SymbolAsker = (question: Symbols) => void;

function questionOf(id: number, request: SymbolRequest): Symbols {
  const empty = { kernel: new Uint8Array(0), maps: [], functions: [] };
  return { ...empty, id, request, kernelEnd: false, end: false };
}

interface WaitingFrame {
  readonly pid: number;
  readonly address: number;
  /** Of the first event that has it. */
  readonly cycles: number;
  readonly sinceMs: number;
}

export class GuestSymbols implements ChainSymbols, SymbolResolver, ChunkProgram {
  readonly #remote = new RemoteProcesses();
  readonly users = new UserSymbols(this.#remote);
  readonly #machine: string;
  readonly #onFinding: (text: string) => void;
  readonly #told = new Set<string>();
  #needs: SymbolNeeds | undefined;
  #reader: SymbolPieceReader | undefined;
  #kernel: KallsymsResolver | undefined;
  #kernelDue = false;
  #lastId = 0;
  /** The request that is being answered; 0 for none. */
  #askedId = 0;
  #newsMs = 0;
  #begunMs = 0;
  #isTooSlow = false;
  readonly #waiting = new Map<string, WaitingFrame>();
  /** What a guest sent that is no answer. */
  refused = 0;
  readonly #view = new EventView();

  constructor(machine: string, onFinding: (text: string) => void) {
    this.#machine = machine;
    this.#onFinding = (text) => {
      // A guest may begin anew as often as it likes.
      if (this.#told.has(text)) return;
      this.#told.add(text);
      onFinding(text);
    };
  }

  /** A stream begins, or goes on after a break: what was asked before will not be answered. */
  begin(needs: SymbolNeeds, resumed: boolean): void {
    this.#needs = needs;
    this.#remote.canAsk = needs.users && needs.isTwoWay && !this.#isTooSlow;
    this.#askedId = 0;
    this.#newsMs = performance.now();
    this.#begunMs = this.#newsMs;
    if (resumed && this.#kernel !== undefined) return;
    this.#kernel = undefined;
    this.#kernelDue = !this.#isTooSlow && needs.kernel && (needs.isTwoWay || needs.isKernelComing);
    this.#reader = this.#kernelDue ? new SymbolPieceReader() : undefined;
  }

  /** Whether the kernel's functions are wanted, and have not come in full. */
  get isKernelDue(): boolean {
    return this.#kernelDue;
  }

  /** Whether events wait for names. */
  get isWaiting(): boolean {
    return this.#kernelDue || this.#waiting.size > 0;
  }

  /** The first event that waits for names, in canonical cycles; Infinity for none. */
  get heldFromCycles(): number {
    if (this.#kernelDue) return -Infinity;
    let least = Infinity;
    for (const { cycles } of this.#waiting.values()) least = Math.min(least, cycles);
    return least;
  }

  /** Since when the event waits that waits longest. */
  get #waitingSinceMs(): number {
    if (this.#kernelDue) return this.#begunMs;
    const [oldest] = this.#waiting.values();
    return oldest?.sinceMs ?? Infinity;
  }

  lookup(lo: number, hi: number): SymbolHit | undefined {
    return this.#kernel?.lookup(lo, hi);
  }

  kernel(lo: number, hi: number): SymbolHit | undefined {
    return this.#kernel?.lookup(lo, hi);
  }

  user(pid: number, lo: number, hi: number, cycles: number): SymbolHit | undefined {
    return this.users.lookup(pid, (hi >>> 0) * TWO_32 + (lo >>> 0), cycles);
  }

  /** Looks at records that were just decoded: frames without a name are asked about. */
  run(chunk: Chunk, from: number, to: number): void {
    if (!this.#remote.canAsk || !chunk.hasChains) return;
    for (let i = from; i < to; i++) {
      this.#view.setRecord(chunk, i);
      if (this.#view.chainOffset !== 0) visitFrames(this.#view, this.#onFrame);
    }
  }

  readonly #onFrame = (lo: number, hi: number, space: string): void => {
    if (space !== "user" || this.#waiting.size >= WAITING_FRAMES_MAX) return;
    const { pid, timeCycles } = this.#view;
    const address = hi * TWO_32 + lo;
    this.users.lookup(pid, address, timeCycles);
    if (!this.users.isPending) return;
    const key = `${pid} ${address}`;
    if (this.#waiting.has(key)) return;
    this.#waiting.set(key, { pid, address, cycles: timeCycles, sinceMs: performance.now() });
  };

  /** Asks what is to be asked, and gives up on what does not come. */
  tick(nowMs: number, ask: SymbolAsker): void {
    const needs = this.#needs;
    if (needs === undefined) return;
    if (!needs.isFile && this.isWaiting) {
      this.#isTooSlow ||= nowMs - this.#waitingSinceMs > NAMES_MS_MAX;
      if (this.#isTooSlow || nowMs - this.#newsMs > ANSWER_MS_MAX) this.giveUp();
    }
    if (!needs.isTwoWay || this.#askedId !== 0) return;
    const kernel = this.#kernelDue;
    const request = this.#remote.takeRequest();
    if (!kernel && request === undefined) return;
    this.#askedId = ++this.#lastId;
    this.#newsMs = nowMs;
    const { mapsOf, code } = request ?? { mapsOf: [], code: [] };
    ask(questionOf(this.#askedId, { kernel, mapsOf, code }));
  }

  /** No more names come: events are printed with those that there are, from now on too. */
  giveUp(): void {
    this.#remote.canAsk = false;
    this.#askedId = 0;
    this.#waiting.clear();
    if (this.#kernelDue) this.#giveUpKernel();
  }

  #giveUpKernel(): void {
    if (this.#reader?.count === 0) {
      this.#onFinding(`${this.#machine} does not name the addresses of its kernel`);
    }
    this.#endKernel();
  }

  onSymbols(message: Symbols, nowMs = performance.now()): void {
    const { id, kernel, kernelEnd, maps, functions, end } = message;
    if (id !== this.#askedId) {
      this.refused++;
      return;
    }
    this.#newsMs = nowMs;
    if (this.#kernelDue) this.#onKernel(kernel, kernelEnd);
    if (id === 0) return;
    for (const { pid, text } of maps) {
      if (!this.#remote.onMaps(pid)) {
        this.refused++;
        continue;
      }
      const mappings = text === undefined ? undefined : RemoteProcesses.mappingsIn(text);
      this.users.setMappings(pid, mappings);
    }
    this.#remote.onFunctions(functions);
    if (end) this.#onEnd();
  }

  #onKernel(piece: Uint8Array, isEnd: boolean): void {
    try {
      if (piece.length > 0) this.#reader!.add(piece);
    } catch (error) {
      if (!(error instanceof SymbolPieceError)) throw error;
      this.refused++;
    }
    if (!isEnd) return;
    if (this.#reader!.count === 0) {
      this.#onFinding(
        `${this.#machine} hides the addresses of its kernel's functions\n` +
          "HINT: in the guest, run agent-guest as root, and set kernel.kptr_restrict to 1 or 0",
      );
    }
    this.#endKernel();
  }

  #endKernel(): void {
    this.#kernelDue = false;
    this.#kernel = this.#reader?.table();
    this.#reader = undefined;
  }

  /** An answer is complete: frames that it did not name are looked up again, or asked further. */
  #onEnd(): void {
    this.#askedId = 0;
    if (this.#kernelDue) this.#giveUpKernel();
    for (const pid of this.#remote.onEnd()) this.users.setMappings(pid, undefined);
    for (const [key, { pid, address, cycles }] of this.#waiting) {
      this.users.lookup(pid, address, cycles);
      if (!this.users.isPending) this.#waiting.delete(key);
    }
  }
}
