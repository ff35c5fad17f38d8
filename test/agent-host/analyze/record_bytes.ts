// Hand-made perf records for the tests of decoder, merger and pairing.

const TWO_32 = 2 ** 32;

/** Little-endian bytes of a u16, u32 and u64. */
export function u16(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff];
}
export function u32(value: number): number[] {
  return [...u16(value & 0xffff), ...u16(value >>> 16)];
}
export function u64(value: number): number[] {
  return [...u32((value % TWO_32) >>> 0), ...u32(Math.floor(value / TWO_32))];
}

/** A record: header and body; the body is padded to a multiple of 8. */
export function record(type: number, body: readonly number[], misc = 0): number[] {
  const padded = [...body];
  while (padded.length % 8 !== 0) padded.push(0);
  return [...u32(type), ...u16(misc), ...u16(8 + padded.length), ...padded];
}

/** The common fields of a tracepoint record. */
export function common(type: number, pid: number, flags = 0, preemptCount = 0): number[] {
  return [...u16(type), flags, preemptCount, ...u32(pid)];
}

/** Raw data as the kernel writes it: a u32 size that counts the padding, then the data. */
export function raw(data: readonly number[]): number[] {
  const padded = [...data];
  while ((padded.length + 4) % 8 !== 0) padded.push(0);
  return [...u32(padded.length), ...padded];
}

/** A sample of TIME|RAW. */
export function plainSample(time: number, data: readonly number[]): number[] {
  return record(9, [...u64(time), ...raw(data)]);
}

/** PERF_RECORD_LOST; `trailer` are the sample id fields of sample_id_all. */
export function lostRecord(events: number, trailer: readonly number[] = []): number[] {
  return record(2, [...u64(7), ...u64(events), ...trailer]);
}

/** Text as bytes. */
export function ascii(text: string): number[] {
  return [...text].map((c) => c.charCodeAt(0));
}
