/**
 * Answers to what a host asks about addresses, made piece by piece and of bounded work: nothing is
 * kept between requests, so that a guest which nobody asks has no table of anything.
 */
import type { EventSet } from "../shared/event/event_set.ts";
import { ElfCache } from "../shared/symbol/elf_cache.ts";
import { kallsymsPieces } from "../shared/symbol/kallsyms_pieces.ts";
import { LocalProcesses } from "../shared/symbol/local_processes.ts";
import { type CodeMapping, formatCodeMappings } from "../shared/symbol/process_maps.ts";
import type {
  FunctionName,
  MappedCode,
  ProcessMaps,
  SymbolRequest,
  Symbols,
} from "../shared/wire/gen/vmspan/v1/channel.ts";
import { MAPS_BYTES_MAX } from "../shared/wire/message_check.ts";

/** Of one request; what is beyond is not answered, and the host goes on without. */
export const REQUEST_PROCESSES_MAX = 64;
export const REQUEST_ADDRESSES_MAX = 2048;
/** Symbols of files while one request is answered. */
const ELF_BYTES_MAX = 16 * 1024 * 1024;

const encoder = new TextEncoder();

type Answer = Partial<Symbols>;

/** The parts of an answer, in order. Throws nothing for what the host asks. */
export function* answerSymbols(id: number, request: SymbolRequest): Generator<Symbols, void> {
  if (request.kernel) for (const part of kernelParts()) yield message(id, part);
  for (const pid of request.mapsOf.slice(0, REQUEST_PROCESSES_MAX)) {
    yield message(id, { maps: [mapsOf(pid)] });
  }
  const processes = new LocalProcesses(new ElfCache(ELF_BYTES_MAX, ELF_BYTES_MAX / 2));
  let left = REQUEST_ADDRESSES_MAX;
  for (const [index, code] of request.code.slice(0, REQUEST_PROCESSES_MAX).entries()) {
    const addresses = code.addresses.slice(0, left);
    left -= addresses.length;
    yield message(id, { functions: functionsOf(processes, index, code, addresses) });
  }
  if (id !== 0) yield message(id, { end: true });
}

/** What a stream gives reason to ask: of processes only where its events sample their chains. */
export function permittedRequest(request: SymbolRequest, set: EventSet): SymbolRequest {
  return set.hasUserChains ? request : { ...request, mapsOf: [], code: [] };
}

/** What a host on a one-way link gets unasked. */
export const KERNEL_REQUEST: SymbolRequest = { kernel: true, mapsOf: [], code: [] };

function message(id: number, answer: Answer): Symbols {
  const empty = {
    kernel: new Uint8Array(0),
    kernelEnd: false,
    maps: [],
    functions: [],
    end: false,
  };
  return { ...empty, ...answer, id, request: undefined };
}

function* kernelParts(): Generator<Answer, void> {
  for (const kernel of kallsymsPieces()) yield { kernel };
  yield { kernelEnd: true };
}

function mapsOf(pid: number): ProcessMaps {
  const mappings = new LocalProcesses().mappingsOf(pid);
  if (mappings === undefined) return { pid };
  return { pid, text: encoder.encode(formatCodeMappings(mappings, MAPS_BYTES_MAX)) };
}

function functionsOf(
  processes: LocalProcesses,
  index: number,
  code: MappedCode,
  addresses: readonly bigint[],
): FunctionName[] {
  const mapping: CodeMapping = {
    start: Number(code.start),
    end: Number(code.end),
    fileOffset: Number(code.fileOffset),
    file: code.file,
    path: new TextDecoder().decode(code.path),
    isDeleted: false,
  };
  const names: FunctionName[] = [];
  for (const [address, value] of addresses.entries()) {
    const hit = processes.symbolAt(code.pid, mapping, Number(value));
    if (hit === undefined) continue;
    names.push({
      code: index,
      address,
      name: encoder.encode(hit.name),
      offset: BigInt(Math.trunc(hit.offset)),
      module: encoder.encode(hit.module ?? ""),
    });
  }
  return names;
}
