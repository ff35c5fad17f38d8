/**
 * By how much a guest's perf clock runs faster than the host's: a second of it has guest.hz guest
 * cycles, which are guest.hz / rate host cycles, which are that many / host.hz seconds of the host.
 *
 *   guest.hz   |-----x-----|            each is known to lie in an interval; the ends of the result
 *   host.hz    |--x--|                  are quotients of their ends, whatever their widths: the sum
 *   rate       |--------x--------|      of the relative errors is too little by their products
 */
import type { TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";

/** Guest cycles per host cycle. */
export interface MeasuredRate {
  readonly rate: number;
  readonly rateErrorPpb: number;
}

export interface ClockDrift {
  readonly ppb: number;
  /** The true drift is within +- of it. */
  readonly errorPpb: number;
}

/** Undefined as long as an interval is open. */
export function clockDrift(
  host: TscFrequency,
  guest: TscFrequency,
  { rate, rateErrorPpb }: MeasuredRate,
): ClockDrift | undefined {
  const part = rateErrorPpb * 1e-9;
  if (!(guest.hz > guest.errorHz && host.hz > host.errorHz && part < 1)) return undefined;
  const lo = (rate * (1 - part) * (host.hz - host.errorHz)) / (guest.hz + guest.errorHz);
  const hi = (rate * (1 + part) * (host.hz + host.errorHz)) / (guest.hz - guest.errorHz);
  return { ppb: ((lo + hi) / 2 - 1) * 1e9, errorPpb: ((hi - lo) / 2) * 1e9 };
}
