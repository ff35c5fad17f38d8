// Printers of the running kernel's events by id, as the differential tests use them.

import { readFileSync } from "node:fs";
import { ByteWriter } from "../../../../shared/text/byte_writer.ts";
import { resolveEnumNames } from "../../../../shared/tracefs/enum_names.ts";
import { parseFormat } from "../../../../shared/tracefs/format.ts";
import { KernelStrings } from "../../../../shared/tracefs/kernel_strings.ts";
import { compilePrintFormat, type PrintRenderer } from "../../../../shared/tracefs/print_format.ts";
import { KallsymsResolver } from "../../../../shared/tracefs/symbols.ts";
import type { Tracefs } from "../../../../shared/tracefs/tracefs.ts";

/** A file's bytes, and a record in them. */
interface Bytes {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
interface RawRecord {
  readonly rawOffset: number;
  readonly rawBytes: number;
}

export class Printers {
  readonly systems: readonly string[];
  /** "sched:sched_switch", all of the systems asked for. */
  readonly names: readonly string[];
  readonly #tracefs: Tracefs;
  readonly #hasConstants: boolean;
  readonly #names = new Map<number, string>();
  readonly #renderers = new Map<number, PrintRenderer>();
  readonly #symbols = KallsymsResolver.parse(readFileSync("/proc/kallsyms"));
  readonly #strings: KernelStrings;
  readonly #out = new ByteWriter(1 << 18);

  /** `hasConstants`: names of enum constants in formats get their values. */
  constructor(tracefs: Tracefs, systems: readonly string[], hasConstants = false) {
    this.#tracefs = tracefs;
    this.#hasConstants = hasConstants;
    this.systems = systems;
    this.#strings = KernelStrings.parse(tracefs.printkFormats());
    for (const system of systems) {
      for (const name of tracefs.eventsOf(system)) {
        if (!tracefs.has(system, name)) continue;
        this.#names.set(tracefs.eventId(system, name), `${system}:${name}`);
      }
    }
    this.names = [...this.#names.values()].sort();
  }

  /** The event that common_type names. */
  nameOf(id: number): string | undefined {
    return this.#names.get(id);
  }

  /** Name and text of a record. */
  print(
    { bytes, view }: Bytes,
    { rawOffset, rawBytes }: RawRecord,
  ): { name: string; text: string } {
    const id = view.getUint16(rawOffset, true);
    const name = this.#names.get(id) ?? `unknown:${id}`;
    const renderer = this.#renderers.get(id) ?? this.#compile(id, name);
    this.#out.clear();
    renderer?.render(this.#out, view, bytes, rawOffset, rawBytes);
    return { name, text: this.#out.toString() };
  }

  #compile(id: number, name: string): PrintRenderer | undefined {
    if (!this.#names.has(id)) return undefined;
    const [system, event] = name.split(":") as [string, string];
    const raw = this.#tracefs.formatText(system, event);
    const text = this.#hasConstants ? resolveEnumNames(raw) : raw;
    const renderer = compilePrintFormat(parseFormat(text, system), {
      symbols: this.#symbols,
      strings: this.#strings,
    });
    this.#renderers.set(id, renderer);
    return renderer;
  }
}

/** All systems but those of dynamic events: whoever made a probe could not remove it meanwhile. */
export function staticSystems(tracefs: Tracefs): string[] {
  const probes = readFileSync(`${tracefs.root}/dynamic_events`, "latin1");
  const groups = new Set([...probes.matchAll(/^\w+:([^/\s]+)\//gm)].map((match) => match[1]!));
  return tracefs.systems().filter((system) => system !== "ftrace" && !groups.has(system));
}
