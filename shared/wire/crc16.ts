// CRC-16/IBM-3740 (polynomial 0x1021, start 0xffff, not reflected): the check over a frame header.
//
// A CRC rather than a sum or a hash because a header has 14 bytes: every error of up to three bits
// and every burst of up to 16 bits is found with certainty, the rest but one in 65,536.
// Check value: "123456789" gives 0x29b1.

const POLYNOMIAL = 0x1021;

/** Value before the first byte. */
export const CRC16_START = 0xffff;

/** CRC16_TABLE[b]: the remainder of the byte b followed by 16 zero bits. */
export const CRC16_TABLE: Uint16Array = makeTable();

function makeTable(): Uint16Array {
  const table = new Uint16Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let rest = byte << 8;
    for (let bit = 0; bit < 8; bit++) {
      rest = rest & 0x8000 ? (rest << 1) ^ POLYNOMIAL : rest << 1;
    }
    table[byte] = rest;
  }
  return table;
}

/** Continues `crc` over bytes[from, to). */
export function crc16(crc: number, bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    crc = ((crc << 8) & 0xff00) ^ CRC16_TABLE[(crc >>> 8) ^ bytes[at]!]!;
  }
  return crc;
}
