// The system's libtraceevent as an oracle: builds the small C program beside this file and runs it.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  GCC,
  LIBC_DEV,
  LIBTRACEEVENT,
  LIBTRACEEVENT_PLUGIN,
  packagesProblem,
} from "../../../apt.ts";

/** One event's format text and records of it. */
export interface OracleEvent {
  readonly system: string;
  readonly formatText: string;
  readonly records: readonly Uint8Array[];
}

const SOURCE = new URL("./libtraceevent_oracle.c", import.meta.url).pathname;
const PLUGINS = "/usr/lib/x86_64-linux-gnu/traceevent/plugins";
const NO_TEXT = 0xffffffff;

/** Why the oracle cannot run here; empty when it can. */
export function oracleProblem(): string {
  const missing = packagesProblem([GCC, LIBC_DEV, LIBTRACEEVENT, LIBTRACEEVENT_PLUGIN]);
  if (missing !== "") return missing;
  const probe = runOracle([]);
  return typeof probe === "string" ? probe : "";
}

/**
 * The texts of all records, event by event; undefined where libtraceevent gave none (it crashed).
 * `plugins` are libtraceevent's own, by name: "scsi".
 */
export function runOracle(
  events: readonly OracleEvent[],
  plugins: readonly string[] = [],
): (string | undefined)[][] | string {
  const directory = mkdtempSync(join(tmpdir(), "vmspan-oracle-"));
  try {
    const exe = join(directory, "oracle");
    const built = spawnSync("gcc", ["-O1", "-o", exe, SOURCE, "-ldl"], { encoding: "utf8" });
    if (built.status !== 0) return `the oracle does not build: ${built.stderr.slice(0, 200)}`;
    const input = Buffer.concat(events.flatMap(encodeEvent));
    const paths = plugins.map((name) => `${PLUGINS}/plugin_${name}.so`);
    const run = spawnSync(exe, paths, { input, maxBuffer: 1 << 30 });
    if (run.status === 3) return "no libtraceevent.so.1 on this machine";
    if (run.status !== 0) return `the oracle failed: status ${run.status}`;
    return decodeTexts(run.stdout, events);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function encodeEvent({ system, formatText, records }: OracleEvent): Buffer[] {
  const format = Buffer.from(formatText, "latin1");
  const head = Buffer.alloc(12);
  head.writeUInt32LE(system.length, 0);
  head.writeUInt32LE(format.length, 4);
  head.writeUInt32LE(records.length, 8);
  const parts = [head, Buffer.from(system), format];
  for (const record of records) {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(record.length, 0);
    parts.push(size, Buffer.from(record));
  }
  return parts;
}

function decodeTexts(output: Buffer, events: readonly OracleEvent[]): (string | undefined)[][] {
  let at = 0;
  return events.map(({ records }) =>
    records.map(() => {
      const bytes = output.readUInt32LE(at);
      at += 4;
      if (bytes === NO_TEXT) return undefined;
      const text = output.toString("latin1", at, at + bytes);
      at += bytes;
      return text;
    }),
  );
}
