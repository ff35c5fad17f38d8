/**
 * --resume FILE: how far this run's output has got, so that another run can go on there when this
 * one is killed at any moment. A guest on a two-way link keeps what is not acknowledged in its
 * ring, and with --resume nothing is acknowledged before it is written out and stands in FILE:
 *
 *   {"version":1,"output":{"device":2049,"inode":131,"bytes":92160},"sources":[
 *     {"name":"127.0.0.1:9900","streamNonce":"89abcdef01234567","cpus":[
 *       {"cpu":0,"position":76800,"shown":12,
 *        "samples":960,"lostEvents":0,"droppedEvents":0,"gapBytes":0}],
 *      "completeNs":"1764104423123456789","ended":[]}]}
 *
 * completeNs: what was recorded before that time of day is written. ended: streams of
 * the guest that are over, as its agent was killed too; see session/ended_streams.ts.
 *
 * What was written after that would come twice: where stdout is the same regular file (>>FILE), the
 * next run cuts it off first. A run that ends by itself or is stopped removes FILE.
 */
import { fstatSync, ftruncateSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { UsageError } from "../shared/cli/failure.ts";
import { SysError } from "../shared/sys/errno.ts";
import { statusOf } from "../shared/sys/fd.ts";
import { isStrangers, openRegular, readWhole } from "../shared/sys/regular_file.ts";
import type { CpuPosition } from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { EndedRow, EndedStream } from "./session/ended_streams.ts";
import { NO_ROOM } from "./session/guest_ledger.ts";
import type { RingMark } from "./session/ring_marks.ts";

const STDOUT = 1;
const VERSION = 1;
const FILE_MODE = 0o600;
/** A file of this size describes hundreds of guests: a larger one is none of ours. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;
/** Others may be at work in its folder, but not all the time. */
const CREATE_TRIES_MAX = 16;

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
  /** Time of day before which all that was recorded has been written; undefined when unknown. */
  readonly completeNs: bigint | undefined;
  /** The streams before this one. */
  readonly ended: readonly EndedStream[];
}

/** The places as they are acknowledged, and resumed from. */
export function positionsOf(cpus: readonly CpuResume[]): CpuPosition[] {
  return cpus.map(({ cpu, position }) => ({ cpu, position: BigInt(position) }));
}

/** A stream of which nothing more will come. */
export function endOf({ cpus, completeNs, ended }: SourceResume): EndedStream {
  const number = (ended.at(-1)?.last ?? 0) + 1;
  const rows = cpus.map(
    ({ cpu, position, shown, samples, lostEvents, droppedEvents, gapBytes }) => {
      const drops = droppedEvents > 0 ? [{ place: NO_ROOM, events: droppedEvents }] : [];
      const counts = { produced: undefined, delivered: samples + shown, lostKernel: lostEvents };
      return { cpu, position, ...counts, drops, gapBytes };
    },
  );
  return { first: number, last: number, rows, completeNs };
}

/** A guest may claim more events than a number tells apart, which reading back refuses. */
function wholeNumbers(_name: string, value: unknown): unknown {
  if (typeof value !== "number") return value;
  return Math.min(Math.max(0, value), Number.MAX_SAFE_INTEGER);
}

interface OutputPlace {
  readonly device: number;
  readonly inode: number;
  readonly bytes: number;
}

const COUNT_MEMBERS = ["samples", "lostEvents", "droppedEvents", "gapBytes"];
const CPU_MEMBERS = ["cpu", "position", "shown", ...COUNT_MEMBERS];
const ROW_MEMBERS = ["cpu", "position", "delivered", "lostKernel", "gapBytes"];

function hasCounts(value: unknown, names: readonly string[]): boolean {
  const members = (value ?? {}) as Record<string, unknown>;
  return names.every((name) => Number.isSafeInteger(members[name]) && Number(members[name]) >= 0);
}

function isDrop(value: unknown): boolean {
  const { place } = (value ?? {}) as Record<string, unknown>;
  return typeof place === "string" && hasCounts(value, ["events"]);
}

function isRow(value: unknown): value is EndedRow {
  const { drops } = (value ?? {}) as Record<string, unknown>;
  return hasCounts(value, ROW_MEMBERS) && Array.isArray(drops) && drops.every(isDrop);
}

function parseNs(text: unknown): bigint | undefined {
  return typeof text === "string" && /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
}

function parseEnded(value: unknown): EndedStream {
  const { first, last, rows, completeNs } = (value ?? {}) as Record<string, unknown>;
  const isWhole = hasCounts(value, ["first", "last"]) && Array.isArray(rows) && rows.every(isRow);
  if (!isWhole) throw new SyntaxError("a stream that ended is not as it was written");
  const told = rows.map((row) => ({ ...row, produced: undefined }));
  return {
    first: Number(first),
    last: Number(last),
    rows: told,
    completeNs: parseNs(completeNs),
  };
}

function parseSource(value: unknown): SourceResume {
  const { name, streamNonce, cpus, completeNs, ended } = (value ?? {}) as Record<string, unknown>;
  const isNonce = typeof streamNonce === "string" && /^[0-9a-f]{1,16}$/.test(streamNonce);
  const hasCpus = Array.isArray(cpus) && cpus.every((cpu) => hasCounts(cpu, CPU_MEMBERS));
  if (typeof name !== "string" || !isNonce || !hasCpus || !Array.isArray(ended)) {
    throw new SyntaxError("a source is not as it was written");
  }
  return {
    name,
    streamNonce: BigInt(`0x${streamNonce}`),
    cpus: cpus as CpuResume[],
    completeNs: parseNs(completeNs),
    ended: ended.map(parseEnded),
  };
}

/** As it is written: 64-bit numbers as text. */
function sourceJson({ name, streamNonce, cpus, completeNs, ended }: SourceResume): object {
  return {
    name,
    streamNonce: streamNonce.toString(16),
    cpus,
    completeNs: completeNs?.toString(),
    ended: ended.map((stream) => ({ ...stream, completeNs: stream.completeNs?.toString() })),
  };
}

/** What the name leads to is left alone: whoever mixed up FILE and OUT is to lose nothing. */
function refuse(path: string, reason: string): UsageError {
  return new UsageError(
    `Cannot use --resume "${path}": ${reason}`,
    "give another name: a new one, or the file that a killed agent-host left",
  );
}

/** What a call of ours, or of node:fs, threw, in our words. */
function fileError(path: string, error: unknown): SysError {
  // node:fs has -errno.
  const { errno } = error as NodeJS.ErrnoException | SysError;
  if (errno === undefined) throw error;
  return new SysError(`use --resume "${path}"`, Math.abs(errno), "give another name");
}

/** Creates a file: never one that somebody else has put there, or a link to another. */
function writeNew(path: string, text: string): void {
  for (let tries = 1; ; tries++) {
    rmSync(path, { force: true });
    try {
      writeFileSync(path, text, { flag: "wx", mode: FILE_MODE });
      return;
    } catch (error) {
      const isThere = (error as NodeJS.ErrnoException).code === "EEXIST";
      if (!isThere || tries === CREATE_TRIES_MAX) throw error;
    }
  }
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

  /** Reads `path`, which need not exist. Throws UsageError when it is something else, SysError. */
  constructor(path: string) {
    this.#path = path;
    const text = ResumeFile.#read(path);
    if (text === undefined) {
      this.#found = [];
      return;
    }
    try {
      const { version, output, sources } = JSON.parse(text);
      if (version !== VERSION || !Array.isArray(sources)) throw new SyntaxError("it is another's");
      this.#found = sources.map(parseSource);
      this.#cutOutput(output);
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      throw refuse(path, `no agent-host has written it (${error.message})`);
    }
  }

  static #read(path: string): string | undefined {
    try {
      using fd = openRegular(path);
      const { uid } = statusOf(fd);
      if (isStrangers(path, uid)) {
        throw refuse(path, `it is of user ${uid}, in a folder where everybody may create files`);
      }
      const bytes = readWhole(fd, FILE_BYTES_MAX);
      if (bytes === undefined) throw refuse(path, "it is too large to be an agent-host's");
      return new TextDecoder().decode(bytes);
    } catch (error) {
      if (error instanceof RangeError) throw refuse(path, "it is no regular file");
      if (!(error instanceof SysError)) throw error;
      if (error.code !== "ENOENT") throw fileError(path, error);
    }
    // Where it is to be made is better looked at now than when events come.
    try {
      if (statSync(dirname(path)).isDirectory()) return undefined;
    } catch (error) {
      throw fileError(path, error);
    }
    throw refuse(path, `"${dirname(path)}" is no folder`);
  }

  /** What was written of a source before; undefined for none. */
  of(name: string): SourceResume | undefined {
    return this.#found.find((source) => source.name === name);
  }

  /** Everything up to these places has been written to stdout. Throws SysError. */
  save(sources: readonly SourceResume[]): void {
    let text = ResumeFile.#textOf(sources);
    // Where to go on is worth more than what became of streams that have ended.
    if (text.length > FILE_BYTES_MAX) {
      text = ResumeFile.#textOf(sources.map((source) => ({ ...source, ended: [] })));
    }
    // Whole or not at all, whenever we are killed.
    const scratchPath = `${this.#path}.new`;
    try {
      writeNew(scratchPath, text);
      renameSync(scratchPath, this.#path);
    } catch (error) {
      throw fileError(this.#path, error);
    }
  }

  static #textOf(sources: readonly SourceResume[]): string {
    const file = { version: VERSION, output: outputPlace(), sources: sources.map(sourceJson) };
    return JSON.stringify(file, wholeNumbers);
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
