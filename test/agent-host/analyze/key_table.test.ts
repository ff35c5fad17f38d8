// KeyTable against a Map, at its limits, and with keys that collide.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  KEY_TABLE_ENTRIES_MIN,
  KeyTable,
  PROBES_MAX,
} from "../../../agent-host/analyze/key_table.ts";

function tableOf(entriesMax: number, seed = 1): KeyTable {
  return new KeyTable(entriesMax, seed, () => {});
}

describe("KeyTable", () => {
  test("put() adds a key once and find() tells 64-bit keys apart", () => {
    const table = tableOf(16);
    const entry = table.put(5, 0);
    expect(table.isNew).toBe(true);
    expect(table.put(5, 0)).toBe(entry);
    expect(table.isNew).toBe(false);
    expect(table.find(5, 0)).toBe(entry);
    expect(table.find(5, 1)).toBe(-1);
    expect(table.find(0, 5)).toBe(-1);
    expect(table.put(0xffffffff, 0xffffffff)).not.toBe(entry);
    expect(table.size).toBe(2);
  });

  test("put() returns -1 when all entries are in use, and reuses removed ones", () => {
    const table = tableOf(3);
    const entries = [1, 2, 3].map((key) => table.put(key, 0));
    expect(entries.toSorted()).toEqual([0, 1, 2]);
    expect(table.put(4, 0)).toBe(-1);
    table.remove(entries[1]!);
    expect(table.put(4, 0)).toBe(entries[1]!);
    expect(table.find(2, 0)).toBe(-1);
  });

  test("grows up to its limit, telling the owner how many entries its columns need", () => {
    const sizes: number[] = [];
    const table = new KeyTable(KEY_TABLE_ENTRIES_MIN * 3, 7, (entries) => sizes.push(entries));
    for (let key = 0; key < KEY_TABLE_ENTRIES_MIN * 3; key++) {
      expect(table.put(key, key)).toBe(key);
    }
    expect(sizes).toEqual([1, 2, 3].map((times) => times * KEY_TABLE_ENTRIES_MIN));
    for (let key = 0; key < KEY_TABLE_ENTRIES_MIN * 3; key++)
      expect(table.find(key, key)).toBe(key);
  });

  test("put() refuses a key when its neighbourhood is full, and names one to evict", () => {
    // Without knowing the hash: take the keys that share one home in a table that never grows.
    const probe = tableOf(KEY_TABLE_ENTRIES_MIN);
    probe.put(0, 0);
    const colliding: number[] = [];
    for (let key = 1; colliding.length <= PROBES_MAX; key++) {
      if (probe.entryInTheWay(key, 0) === 0) colliding.push(key);
    }
    const table = tableOf(KEY_TABLE_ENTRIES_MIN);
    const results = colliding.map((key) => table.put(key, 0));
    expect(results.slice(0, PROBES_MAX)).toEqual(results.slice(0, PROBES_MAX).map((_, i) => i));
    expect(results[PROBES_MAX]).toBe(-1);
    const victim = table.entryInTheWay(colliding[PROBES_MAX]!, 0);
    expect(victim).toBe(0);
    table.remove(victim);
    expect(table.put(colliding[PROBES_MAX]!, 0)).toBe(0);
  });

  test("the constructor throws on a limit below 1", () => {
    expect(() => tableOf(0)).toThrow(RangeError);
  });
});

test("KeyTable does what a Map does", () => {
  const operation = fc.tuple(
    fc.constantFrom("put", "find", "remove", "clear"),
    fc.nat(40),
    fc.nat(2),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), fc.integer(), (operations, seed) => {
      const table = tableOf(32, seed);
      const model = new Map<string, number>();
      for (const [what, lo, hi] of operations) {
        const name = `${lo},${hi}`;
        const known = model.get(name);
        if (what === "put") {
          const entry = table.put(lo, hi);
          if (known !== undefined) expect(entry).toBe(known);
          else if (model.size === 32) expect(entry).toBe(-1);
          else {
            expect([...model.values()]).not.toContain(entry);
            expect(entry).toBeLessThan(32);
            model.set(name, entry);
          }
        } else if (what === "find") {
          expect(table.find(lo, hi)).toBe(known ?? -1);
        } else if (what === "remove" && known !== undefined) {
          table.remove(known);
          model.delete(name);
        } else if (what === "clear" && lo === 0) {
          table.clear();
          model.clear();
        }
        expect(table.size).toBe(model.size);
      }
      for (const [name, entry] of model) {
        const [lo, hi] = name.split(",").map(Number);
        expect(table.find(lo!, hi!)).toBe(entry);
      }
    }),
    { numRuns: 500 },
  );
});
