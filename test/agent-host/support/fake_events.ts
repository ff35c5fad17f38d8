/** Many samples of the fake event at once, as a ring holds them. */
import { markerRecord } from "./guest_stream.ts";

/** `count` samples, 1 us apart from `ns` on, in one span. */
export function markerFrom(ns: number, count: number): number[] {
  const span: number[] = [];
  for (let i = 0; i < count; i++) span.push(...markerRecord(ns + i * 1000, i));
  return span;
}
