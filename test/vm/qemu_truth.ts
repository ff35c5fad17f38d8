/**
 * Truth about an emulated guest's TSC: QEMU keeps the constant that it adds to the host's TSC in
 * timers_state.cpu_ticks_offset, which some builds export (Debian's does).
 *
 *   struct TimersState { i64 cpu_ticks_prev; i64 cpu_ticks_offset; ... }   guest = host + offset
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, realpathSync } from "node:fs";
import type { QemuGuest } from "./qemu.ts";

const OFFSET_BYTES = 8;

/** Where timers_state lies in QEMU's file's memory, undefined where nobody can tell. */
function timersStateAddress(path: string): number | undefined {
  const { stdout } = spawnSync("nm", ["-D", path], { encoding: "utf8", maxBuffer: 1 << 26 });
  const match = /^([0-9a-f]+) [BD] timers_state/m.exec(stdout ?? "");
  return match === null ? undefined : Number.parseInt(match[1]!, 16);
}

/** Reads guest TSC minus host TSC from QEMU's memory, as often as asked. */
export class QemuTruth {
  readonly #guest: QemuGuest;
  /** In the process; undefined where QEMU does not tell. */
  readonly #address: number | undefined;

  constructor(guest: QemuGuest, qemuPath: string) {
    this.#guest = guest;
    const path = realpathSync(qemuPath);
    const address = timersStateAddress(path);
    const maps = readFileSync(`/proc/${guest.pid}/maps`, "utf8").split("\n");
    const base = Number.parseInt(maps.find((line) => line.endsWith(path)) ?? "", 16);
    this.#address = address === undefined ? undefined : base + address + OFFSET_BYTES;
  }

  get isKnown(): boolean {
    return this.#address !== undefined;
  }

  /** Throws RangeError where it is not known. */
  offset(): bigint {
    if (this.#address === undefined) throw new RangeError("Cannot read the offset: unknown place");
    const fd = openSync(`/proc/${this.#guest.pid}/mem`, "r");
    const word = new BigInt64Array(1);
    readSync(fd, new Uint8Array(word.buffer), 0, 8, this.#address);
    closeSync(fd);
    return word[0]!;
  }
}
