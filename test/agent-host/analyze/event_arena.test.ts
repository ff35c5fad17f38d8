// EventArena: copies stay intact while others come and go, and room is limited.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EventArena } from "../../../agent-host/analyze/event_arena.ts";

describe("EventArena", () => {
  test("copy() keeps bytes at 4 mod 8, as in a chunk", () => {
    const arena = new EventArena(4096);
    const source = Uint8Array.from({ length: 100 }, (_, i) => i);
    const offset = arena.copy(source, 10, 20);
    expect(offset % 8).toBe(4);
    expect([...arena.bytes.subarray(offset, offset + 20)]).toEqual([...source.subarray(10, 30)]);
  });

  test("copy() returns -1 when there is no room, and uses freed room again", () => {
    const arena = new EventArena(1024);
    const source = new Uint8Array(300);
    const first = arena.copy(source, 0, 300);
    expect(arena.copy(source, 0, 300)).toBeGreaterThanOrEqual(0);
    expect(arena.copy(source, 0, 300)).toBe(-1);
    expect(arena.refused).toBe(1);
    arena.free(first, 300);
    expect(arena.copy(source, 0, 300)).toBe(first);
    arena.free(-1, 300);
  });

  test("copy() keeps live copies intact over any sequence of copies and frees", () => {
    const step = fc.tuple(fc.boolean(), fc.nat(700), fc.nat(255));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const arena = new EventArena(16 * 1024);
        const live: { offset: number; size: number; fill: number }[] = [];
        for (const [isFree, size, fill] of steps) {
          if (isFree && live.length > 0) {
            const [gone] = live.splice(size % live.length, 1);
            arena.free(gone!.offset, gone!.size);
            continue;
          }
          const offset = arena.copy(new Uint8Array(size).fill(fill), 0, size);
          if (offset >= 0) live.push({ offset, size, fill });
        }
        expect(arena.bytes.length).toBeLessThanOrEqual(16 * 1024);
        for (const { offset, size, fill } of live) {
          const bytes = arena.bytes.subarray(offset, offset + size);
          expect(bytes.length).toBe(size);
          expect(bytes.every((byte) => byte === fill)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});
