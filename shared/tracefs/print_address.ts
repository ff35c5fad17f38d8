// Addresses as the kernel's %p letters print them: MAC, IPv4, IPv6, socket addresses, UUID.

import type { ByteWriter } from "../text/byte_writer.ts";

const COLON = 0x3a;
const DOT = 0x2e;
const AF_INET = 2;
const AF_INET6 = 10;
/** sizeof struct sockaddr_in and sockaddr_in6 in <linux/in.h>, <linux/in6.h>. */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

/** %pM %pMR %pMF %pm %pmR: six bytes from `at`. */
export function writeMac(out: ByteWriter, bytes: Uint8Array, at: number, suffix: string): void {
  const isReversed = suffix[1] === "R";
  const delimiter = suffix[0] === "m" ? 0 : suffix[1] === "F" ? 0x2d : COLON;
  for (let i = 0; i < 6; i++) {
    if (i > 0 && delimiter !== 0) out.u8(delimiter);
    out.hexByte(bytes[at + (isReversed ? 5 - i : i)]!);
  }
}

/** %pI4 1.2.3.4, %pi4 001.002.003.004; h and l have the bytes in host order. */
export function writeIpv4(
  out: ByteWriter,
  bytes: Uint8Array,
  at: number,
  isPadded: boolean,
  isReversed: boolean,
): void {
  for (let i = 0; i < 4; i++) {
    if (i > 0) out.u8(DOT);
    out.decPadded(bytes[at + (isReversed ? 3 - i : i)]!, isPadded ? 3 : 0, 0x30);
  }
}

/** %pI6 with colons, %pi6 without. */
export function writeIpv6(
  out: ByteWriter,
  bytes: Uint8Array,
  at: number,
  hasColons: boolean,
): void {
  for (let i = 0; i < 16; i++) {
    if (hasColons && i > 0 && (i & 1) === 0) out.u8(COLON);
    out.hexByte(bytes[at + i]!);
  }
}

/** %pI6c: RFC 5952, with a dotted tail for mapped and ISATAP addresses. */
export function writeIpv6Short(out: ByteWriter, bytes: Uint8Array, at: number): void {
  const word = (i: number): number => (bytes[at + 2 * i]! << 8) | bytes[at + 2 * i + 1]!;
  const isMapped = word(0) + word(1) + word(2) + word(3) + word(4) === 0 && word(5) === 0xffff;
  const isIsatap = (word(4) | 0x0200) === 0x0200 && word(5) === 0x5efe;
  const hasIpv4 = isMapped || isIsatap;
  const range = hasIpv4 ? 6 : 8;
  const { start, length } = longestZeroRun(word, range);
  let needsColon = false;
  for (let i = 0; i < range; i++) {
    if (i === start) {
      if (needsColon || i === 0) out.u8(COLON);
      out.u8(COLON);
      needsColon = false;
      i += length - 1;
      continue;
    }
    if (needsColon) out.u8(COLON);
    out.hex64(word(i), 0);
    needsColon = true;
  }
  if (!hasIpv4) return;
  if (needsColon) out.u8(COLON);
  writeIpv4(out, bytes, at + 12, false, false);
}

/** The first of the longest runs of zero words; a single zero is not shortened. */
function longestZeroRun(
  word: (i: number) => number,
  range: number,
): { readonly start: number; readonly length: number } {
  let start = -1;
  let length = 1;
  for (let i = 0; i < range; i++) {
    let run = 0;
    while (i + run < range && word(i + run) === 0) run++;
    if (run > length) {
      start = i;
      length = run;
    }
  }
  return { start, length };
}

/** %pIS and its letters: p adds the port, c shortens IPv6. Bytes from..to are a struct sockaddr. */
export function writeSockaddr(
  out: ByteWriter,
  bytes: Uint8Array,
  from: number,
  to: number,
  suffix: string,
): void {
  if (to - from < 2) return;
  const hasPort = suffix.includes("p");
  const family = bytes[from]! | (bytes[from + 1]! << 8);
  const port = to - from >= 4 ? (bytes[from + 2]! << 8) | bytes[from + 3]! : 0;
  if (family === AF_INET) {
    if (to - from < SOCKADDR_IN_BYTES) {
      out.ascii("INVALIDIPv4");
      return;
    }
    const isReversed = suffix.includes("h") || suffix.includes("l");
    writeIpv4(out, bytes, from + 4, suffix[0] === "i", isReversed);
    if (hasPort) writePort(out, port);
  } else if (family === AF_INET6) {
    if (to - from < SOCKADDR_IN6_BYTES) {
      out.ascii("INVALIDIPv6");
      return;
    }
    if (hasPort) out.u8(0x5b);
    if (suffix.includes("c")) writeIpv6Short(out, bytes, from + 8);
    else writeIpv6(out, bytes, from + 8, suffix[0] === "I");
    if (!hasPort) return;
    out.u8(0x5d);
    writePort(out, port);
  }
}

function writePort(out: ByteWriter, port: number): void {
  out.u8(COLON);
  out.dec(port);
}

/** Byte order of %pUl and %pUL: the first three parts are little-endian. */
const GUID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/** %pU %pUb %pUB %pUl %pUL: sixteen bytes from `at`. */
export function writeUuid(out: ByteWriter, bytes: Uint8Array, at: number, suffix: string): void {
  const order = suffix[1];
  const isGuid = order === "l" || order === "L";
  const isUpper = order === "B" || order === "L";
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) out.u8(0x2d);
    writeByte(out, bytes[at + (isGuid ? GUID_ORDER[i]! : i)]!, isUpper);
  }
}

function writeByte(out: ByteWriter, byte: number, isUpper: boolean): void {
  out.hex64(byte >> 4, 0, isUpper);
  out.hex64(byte & 15, 0, isUpper);
}
