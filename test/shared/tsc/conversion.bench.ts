/**
 * What a conversion costs per event, inlined as the decoder does it and through convert():
 *
 *   bun test/shared/tsc/conversion.bench.ts         deno run test/shared/tsc/conversion.bench.ts
 *   inlined    1.9 ns/event
 */
import { convert, timeSegment } from "../../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../../shared/tsc/tsc.ts";

const EVENTS = 1 << 15;
const ROUNDS = 200;
const BASE = (77n << 32n) - 10_000_000n;

const segment = timeSegment({
  base: BASE,
  slope: 2.6999998713,
  originCycles: 12345.5,
  targetAnchor: 0n,
  boundCycles: 60,
});
const words = new Uint32Array(2 * EVENTS);
for (let i = 0; i < EVENTS; i++) {
  const value = BASE + BigInt(i) * 1000n;
  words[2 * i] = lowHalf(value);
  words[2 * i + 1] = highHalf(value);
}
const out = new Float64Array(EVENTS);

function inlined(): void {
  const { baseLo, baseHi, originCycles, slope } = segment;
  for (let i = 0; i < EVENTS; i++) {
    const delta = ((words[2 * i + 1]! - baseHi) | 0) * 4294967296 + (words[2 * i]! - baseLo);
    out[i] = originCycles + slope * delta;
  }
}

function called(): void {
  for (let i = 0; i < EVENTS; i++) out[i] = convert(segment, words[2 * i]!, words[2 * i + 1]!);
}

/** The fastest of all rounds: others share the machine. */
function measureNs(run: () => void): number {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return (best * 1e6) / EVENTS;
}

for (const [name, run] of [
  ["inlined", inlined],
  ["convert()", called],
] as const) {
  console.log(`${name.padEnd(10)} ${measureNs(run).toFixed(1)} ns/event`);
}
