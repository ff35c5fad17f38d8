/**
 * --resume FILE: how far this run's output has got, so that another run can go on there when this
 * one is killed at any moment. A guest on a two-way link keeps what is not acknowledged in its
 * ring, and with --resume nothing is acknowledged before it is written out and stands in FILE:
 *
 *   {"version":1,"output":{"device":2049,"inode":131,"bytes":92160},"sources":[
 *     {"name":"127.0.0.1:9900","streamNonce":"89abcdef01234567","cpus":[
 *       {"cpu":0,"position":76800,"shown":12,
 *        "samples":960,"lostEvents":0,"droppedEvents":0,"gapBytes":0}]}]}
 *
 * What was written after that would come twice: where stdout is the same regular file (>>FILE), the
 * next run cuts it off first. A run that ends by itself or is stopped removes FILE.
 */
import { fstatSync, ftruncateSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { UsageError } from "../shared/cli/failure.ts";
import type { RingMark } from "./session/ring_marks.ts";

const STDOUT = 1;
const VERSION = 1;
const FILE_MODE = 0o600;
/** A file of this size describes hundreds of guests: a larger one is none of ours. */
const FILE_CHARS_MAX = 16 * 1024 * 1024;

/** A ring, and how far it was used up. */
export interface CpuResume extends Omit<RingMark, "records"> {
  readonly cpu: number;
  /** Records after that place that have been written, too: they come again, and are passed over. */
  readonly shown: number;
}

export interface SourceResume {
  /** As the source is called when it is connected. */
  readonly name: string;
  readonly streamNonce: bigint;
  readonly cpus: readonly CpuResume[];
}

interface OutputPlace {
  readonly device: number;
  readonly inode: number;
  readonly bytes: number;
}

const CPU_MEMBERS = [
  ...["cpu", "position", "shown"],
  ...["samples", "lostEvents", "droppedEvents", "gapBytes"],
];

function isCpu(value: unknown): value is CpuResume {
  const members = (value ?? {}) as Record<string, unknown>;
  return CPU_MEMBERS.every(
    (name) => Number.isSafeInteger(members[name]) && Number(members[name]) >= 0,
  );
}

function parseSource(value: unknown): SourceResume {
  const { name, streamNonce, cpus } = (value ?? {}) as Record<string, unknown>;
  const isNonce = typeof streamNonce === "string" && /^[0-9a-f]{1,16}$/.test(streamNonce);
  if (typeof name !== "string" || !isNonce || !Array.isArray(cpus) || !cpus.every(isCpu)) {
    throw new SyntaxError("a source is not as it was written");
  }
  return { name, streamNonce: BigInt(`0x${streamNonce}`), cpus };
}

/** Where stdout stands; undefined when it is no regular file. */
function outputPlace(): OutputPlace | undefined {
  const status = fstatSync(STDOUT);
  if (!status.isFile()) return undefined;
  return { device: status.dev, inode: status.ino, bytes: status.size };
}

export class ResumeFile {
  readonly #path: string;
  readonly #found: readonly SourceResume[];

  /** Reads `path`, which need not exist. Throws UsageError when it is something else. */
  constructor(path: string) {
    this.#path = path;
    const text = ResumeFile.#read(path);
    if (text === undefined) {
      this.#found = [];
      return;
    }
    try {
      if (text.length > FILE_CHARS_MAX) throw new SyntaxError("it is too large");
      const { version, output, sources } = JSON.parse(text);
      if (version !== VERSION || !Array.isArray(sources)) throw new SyntaxError("it is another's");
      this.#found = sources.map(parseSource);
      this.#cutOutput(output);
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      throw new UsageError(
        `Cannot resume from "${path}": ${error.message}`,
        "--resume wants a file that a killed agent-host left, or a new one: remove this one",
      );
    }
  }

  static #read(path: string): string | undefined {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** What was written of a source before; undefined for none. */
  of(name: string): SourceResume | undefined {
    return this.#found.find((source) => source.name === name);
  }

  /** Everything up to these places has been written to stdout. */
  save(sources: readonly SourceResume[]): void {
    const text = JSON.stringify({
      version: VERSION,
      output: outputPlace(),
      sources: sources.map(({ name, streamNonce, cpus }) => {
        return { name, streamNonce: streamNonce.toString(16), cpus };
      }),
    });
    // Whole or not at all, whenever we are killed.
    const scratchPath = `${this.#path}.new`;
    writeFileSync(scratchPath, text, { mode: FILE_MODE });
    renameSync(scratchPath, this.#path);
  }

  /** The run is over: there is nothing to go on with. */
  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /** Cuts off what was written after the last save(), if this is the file that it went to. */
  #cutOutput(before: Partial<OutputPlace> | undefined): void {
    const now = outputPlace();
    if (now === undefined || before?.bytes === undefined) return;
    const isSame = now.device === before.device && now.inode === before.inode;
    if (isSame && now.bytes > before.bytes) ftruncateSync(STDOUT, before.bytes);
  }
}
