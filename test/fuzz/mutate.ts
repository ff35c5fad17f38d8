/**
 * Changes inputs the way that damage and malice do, of which none needs to know what the bytes
 * mean:
 *
 *   a bit, a byte, a run of bytes        changed
 *   a piece                              cut out, doubled, overwritten by another of the input
 *   the end                              cut off
 *   noise                                put in
 *   another input of the corpus          spliced in, or its end in the place of ours
 *   a number of 1, 2, 4 or 8 bytes       set to what lengths and positions trip over
 */
import { concat } from "../shared/wire/streams.ts";
import type { Random } from "./random.ts";

/** Changes to one input. */
const CHANGES_MAX = 5;
const PIECE_BYTES_MAX = 200;
const NOISE_BYTES_MAX = 40;
/** Inputs do not grow beyond this. */
export const INPUT_BYTES_MAX = 64 * 1024;

/** Low words of numbers that borders lie at. */
const ODD_NUMBERS: readonly number[] = [
  ...[0, 1, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0xf_ffff, 0x10_0000],
  ...[0x10_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff],
];

function setNumber(bytes: Uint8Array, at: number, random: Random): void {
  const size = 1 << random(4);
  let number = ODD_NUMBERS[random(ODD_NUMBERS.length)]!;
  for (let i = 0; i < size && at + i < bytes.length; i++) {
    bytes[at + i] = number & 0xff;
    number = i === 3 ? (random(2) === 0 ? 0 : 0xffff_ffff) : number >>> 8;
  }
}

/** Changes that leave the length as it is; `bytes` are ours. */
function changeInPlace(bytes: Uint8Array, at: number, random: Random): void {
  const to = Math.min(bytes.length, at + random(PIECE_BYTES_MAX));
  const kind = random(6);
  if (kind === 0) bytes[at]! ^= 1 << random(8);
  else if (kind === 1) bytes[at] = random(256);
  else if (kind === 2) bytes[at]! += random(2) === 0 ? 1 : 255;
  else if (kind === 3) bytes.copyWithin(at, random(bytes.length), to);
  else if (kind === 4) for (let i = at; i < to; i += 1 + random(16)) bytes[i] = random(256);
  else setNumber(bytes, at, random);
}

/** Changes that move what comes behind them. */
function changeLength(
  bytes: Uint8Array,
  at: number,
  corpus: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  const to = Math.min(bytes.length, at + random(PIECE_BYTES_MAX));
  const other = corpus[random(corpus.length)]!;
  const kind = random(6);
  if (kind === 0) return bytes.slice(0, at);
  if (kind === 1) return concat(bytes.subarray(0, at), bytes.subarray(to));
  if (kind === 2) return concat(bytes.subarray(0, to), bytes.subarray(at));
  if (kind === 3) {
    const noise = Uint8Array.from({ length: random(NOISE_BYTES_MAX) }, () => random(256));
    return concat(bytes.subarray(0, at), noise, bytes.subarray(at));
  }
  const from = random(other.length + 1);
  if (kind === 4) return concat(bytes.subarray(0, at), other.subarray(from));
  return concat(bytes.subarray(0, at), other.subarray(from), bytes.subarray(at));
}

/** An input of the corpus, changed. */
export function mutate(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes: Uint8Array = corpus[random(corpus.length)]!.slice();
  const changes = 1 + random(CHANGES_MAX);
  for (let n = 0; n < changes; n++) {
    const at = random(bytes.length + 1);
    if (random(3) > 0 && at < bytes.length) changeInPlace(bytes, at, random);
    else bytes = changeLength(bytes, at, corpus, random);
  }
  return bytes.length > INPUT_BYTES_MAX ? bytes.slice(0, INPUT_BYTES_MAX) : bytes;
}
