/**
 * A guest's processes as far as the guest has told: what it is asked next, and what it answered.
 * UserSymbols asks here; what is not known yet is pending, and goes into the next request.
 *
 *   symbolAt(4711, libc, 0x7f33c1430000)   -> "pending"
 *   takeRequest()   { mapsOf: [], code: [{ pid: 4711, ... addresses: [0x7f33c1430000] }] }
 *   onFunctions(request, names)            ... symbolAt() gives "write"
 */
import type { ProcessSource } from "../../shared/symbol/local_processes.ts";
import { type CodeMapping, parseCodeMappings } from "../../shared/symbol/process_maps.ts";
import type { SymbolHit } from "../../shared/tracefs/symbols.ts";
import type {
  FunctionName,
  MappedCode,
  SymbolRequest,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";

/** Of one request; what is beyond waits for the next. */
const REQUEST_PROCESSES_MAX = 64;
const REQUEST_ADDRESSES_MAX = 2048;
/** Of one guest: what waits to be asked about. What comes beyond that is printed without names. */
export const WANTED_PROCESSES_MAX = 8192;
export const WANTED_ADDRESSES_MAX = 16_384;
/** Names that are kept of one guest; then it is asked anew. */
export const NAMES_MAX = 262_144;
/** Longest name that is kept, in characters. */
const NAME_CHARS_MAX = 512;
/** Code of one file or process that names are kept of. */
const PLACES_MAX = 4096;

interface Place {
  readonly pid: number;
  readonly mapping: CodeMapping;
  /** By offset in the file, or by address where there is none. null: it has no name. */
  readonly names: Map<number, SymbolHit | null>;
  /** Addresses to ask about, in this mapping. */
  readonly wanted: Set<number>;
}

const utf8 = new TextDecoder();
const encoder = new TextEncoder();

export class RemoteProcesses implements ProcessSource {
  /** Somebody answers: without that what is not known stays unknown. */
  canAsk = false;
  readonly #places = new Map<string, Place>();
  readonly #wantedMaps = new Set<number>();
  /** Of all places. */
  #wantedAddresses = 0;
  #nameCount = 0;
  /** Whose mappings are being asked for, and have not come. */
  #askedMaps = new Set<number>();
  /** What is being asked: by index in the request. */
  #asked: { readonly place: Place; readonly addresses: readonly number[] }[] = [];

  mappingsOf(pid: number): undefined | "pending" {
    if (!this.canAsk) return undefined;
    const isWanted = this.#wantedMaps.has(pid);
    if (!isWanted && this.#wantedMaps.size >= WANTED_PROCESSES_MAX) return undefined;
    this.#wantedMaps.add(pid);
    return "pending";
  }

  symbolAt(pid: number, mapping: CodeMapping, address: number): SymbolHit | undefined | "pending" {
    const place = this.#placeOf(pid, mapping);
    const known = place.names.get(keyOf(mapping, address));
    if (known !== undefined) return known ?? undefined;
    if (!this.canAsk) return undefined;
    if (place.wanted.has(address)) return "pending";
    if (this.#wantedAddresses >= WANTED_ADDRESSES_MAX) return undefined;
    place.wanted.add(address);
    this.#wantedAddresses++;
    return "pending";
  }

  /** What to ask now; undefined when nothing is wanted. */
  takeRequest(): Pick<SymbolRequest, "mapsOf" | "code"> | undefined {
    const mapsOf = takeFirst(this.#wantedMaps, REQUEST_PROCESSES_MAX);
    this.#askedMaps = new Set(mapsOf);
    this.#asked = [];
    let left = Math.min(REQUEST_ADDRESSES_MAX, this.#wantedAddresses);
    for (const place of this.#places.values()) {
      if (left === 0 || this.#asked.length === REQUEST_PROCESSES_MAX) break;
      if (place.wanted.size === 0) continue;
      const addresses = takeFirst(place.wanted, left);
      left -= addresses.length;
      this.#wantedAddresses -= addresses.length;
      this.#asked.push({ place, addresses });
    }
    if (mapsOf.length === 0 && this.#asked.length === 0) return undefined;
    return { mapsOf, code: this.#asked.map(({ place, addresses }) => toCode(place, addresses)) };
  }

  /** A process's mappings come. False: they were not asked for, or have come already. */
  onMaps(pid: number): boolean {
    return this.#askedMaps.delete(pid);
  }

  /** Names for what was asked last. The guest may say anything: numbers are checked. */
  onFunctions(functions: readonly FunctionName[]): void {
    for (const { code, address, name, offset, module } of functions) {
      const asked = this.#asked[code];
      const at = asked?.addresses[address];
      if (asked === undefined || at === undefined || name.length === 0) continue;
      const hit: SymbolHit = {
        name: utf8.decode(name).slice(0, NAME_CHARS_MAX),
        offset: Number(offset & 0xffff_ffff_ffffn),
      };
      if (module.length > 0) hit.module = utf8.decode(module).slice(0, NAME_CHARS_MAX);
      this.#keep(asked.place, at, hit);
    }
  }

  /** The request is answered: what got no name has none. Gives whose mappings did not come. */
  onEnd(): number[] {
    for (const { place, addresses } of this.#asked) {
      for (const address of addresses) {
        const key = keyOf(place.mapping, address);
        if (!place.names.has(key)) this.#keep(place, address, null);
      }
    }
    this.#asked = [];
    const silent = [...this.#askedMaps];
    this.#askedMaps.clear();
    return silent;
  }

  static mappingsIn(text: Uint8Array): CodeMapping[] {
    return parseCodeMappings(utf8.decode(text));
  }

  #keep(place: Place, address: number, hit: SymbolHit | null): void {
    if (this.#nameCount >= NAMES_MAX) {
      for (const { names } of this.#places.values()) names.clear();
      this.#nameCount = 0;
    }
    place.names.set(keyOf(place.mapping, address), hit);
    this.#nameCount++;
  }

  #placeOf(pid: number, mapping: CodeMapping): Place {
    const { file, path } = mapping;
    const key = file === "" ? `${pid} ${path}` : `${file} ${path}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      if (this.#places.size >= PLACES_MAX) this.#forgetPlaces();
      place = { pid, mapping, names: new Map(), wanted: new Set() };
      this.#places.set(key, place);
    }
    // Another process may have the file elsewhere, and the one that asked first may be gone.
    if (place.wanted.size === 0 && place.mapping !== mapping) {
      place = { pid, mapping, names: place.names, wanted: new Set() };
      this.#places.set(key, place);
    }
    return place;
  }

  #forgetPlaces(): void {
    this.#places.clear();
    this.#nameCount = 0;
    this.#wantedAddresses = 0;
  }
}

/** Takes the oldest `count` out of a set. */
function takeFirst(set: Set<number>, count: number): number[] {
  const taken: number[] = [];
  for (const one of set) {
    if (taken.length === count) break;
    set.delete(one);
    taken.push(one);
  }
  return taken;
}

/** A file's code is the same wherever it is mapped. */
function keyOf({ file, start, fileOffset }: CodeMapping, address: number): number {
  return file === "" ? address : address - start + fileOffset;
}

function toCode({ pid, mapping }: Place, addresses: readonly number[]): MappedCode {
  const { start, end, fileOffset, file, path } = mapping;
  return {
    pid,
    start: BigInt(start),
    end: BigInt(end),
    fileOffset: BigInt(fileOffset),
    file,
    path: encoder.encode(path),
    addresses: addresses.map(BigInt),
  };
}
