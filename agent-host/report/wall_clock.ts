// WallClock: the date in front of each line, in local time.
//
//   2023-04-12 13:47:26.370747
//
// Broken down into a date once per second, since that costs as much as the rest of the line.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import { TimeScale } from "./time_scale.ts";

/** Bytes of a date with microseconds. */
export const DATE_BYTES = 26;
const SECOND_BYTES = 19;
const ZERO = 0x30;
const DOT = 0x2e;

/** Canonical time as local date and time. */
export class WallClock {
  readonly scale: TimeScale;
  readonly #second = new Uint8Array(SECOND_BYTES);
  #cached = Number.NaN;

  /** `wallNs` is the time of day (CLOCK_REALTIME) at cycle 0. */
  constructor(wallNs: bigint, nsPerCycle: number) {
    this.scale = new TimeScale(wallNs, nsPerCycle);
  }

  /** Writes the date of a time. */
  write(out: ByteWriter, cycles: number): void {
    const { scale } = this;
    scale.set(cycles, false);
    if (scale.seconds !== this.#cached) this.#breakDown(scale.seconds);
    out.reserve(DATE_BYTES);
    const { bytes } = out;
    const second = this.#second;
    let at = out.length;
    for (let i = 0; i < SECOND_BYTES; i++) bytes[at++] = second[i]!;
    bytes[at++] = DOT;
    writeMicros(bytes, at, scale.micros);
    out.length = at + 6;
  }

  /** The date of a time as text. */
  text(cycles: number): string {
    this.scale.set(cycles, false);
    return dateText(this.scale.seconds, this.scale.micros);
  }

  #breakDown(seconds: number): void {
    const text = secondText(seconds);
    for (let i = 0; i < SECOND_BYTES; i++) this.#second[i] = text.charCodeAt(i);
    this.#cached = seconds;
  }
}

/** The date of a time of day in ns since 1970, cut off to microseconds. */
export function wallText(ns: bigint): string {
  return dateText(Number(ns / 1_000_000_000n), Number((ns / 1000n) % 1_000_000n));
}

function dateText(seconds: number, micros: number): string {
  return `${secondText(seconds)}.${String(micros).padStart(6, "0")}`;
}

/** Writes six digits at `at`, for a number below 10^6. */
export function writeMicros(bytes: Uint8Array, at: number, micros: number): void {
  let rest = micros;
  for (let place = at + 5; place >= at; place--) {
    const quotient = (rest / 10) | 0;
    bytes[place] = ZERO + rest - quotient * 10;
    rest = quotient;
  }
}

/** Exactly SECOND_BYTES characters, whatever the stamp. */
function secondText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const year = date.getFullYear();
  if (!(year >= 0 && year <= 9999)) return "????-??-?? ??:??:??";
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${String(year).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
