/** What a program has mapped, in any order, and how much memory all programs take. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { AddressSpace } from "../../../shared/symbol/address_space.ts";
import { type CodeMapping, MAPPINGS_MAX } from "../../../shared/symbol/process_maps.ts";
import { UserSymbols } from "../../../shared/symbol/user_symbols.ts";

const PIDS = 6;
const mapping = (start: number, end: number, path: string): CodeMapping => ({
  start,
  end,
  fileOffset: 0,
  file: "fe:01 1",
  path,
  isDeleted: false,
});
/** Processes that nobody knows. */
const NOBODY = { mappingsOf: () => undefined, symbolAt: () => undefined };

test("map() takes the place of every mapping that it touches, and of no other", () => {
  const ranges = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 12 })), { maxLength: 40 });
  fc.assert(
    fc.property(ranges, (added) => {
      const space = new AddressSpace(0);
      let expected: CodeMapping[] = [];
      for (const [i, [start, bytes]] of added.entries()) {
        const one = mapping(start, start + bytes, `/${i}`);
        space.map({ ...one, mappedCycles: i });
        expected = expected.filter((old) => old.end <= one.start || old.start >= one.end);
        expected.push(one);
      }
      for (let address = 0; address < 80; address++) {
        const holds = expected.find(({ start, end }) => start <= address && address < end);
        expect(space.mappingAt(address)?.path).toBe(holds?.path);
      }
    }),
  );
});

test(`map() keeps ${MAPPINGS_MAX} mappings, and what they take is counted`, () => {
  const space = new AddressSpace(0);
  const empty = space.bytes;
  for (let i = 0; i <= MAPPINGS_MAX; i++) {
    space.map({ ...mapping(2 * i, 2 * i + 1, "/x"), mappedCycles: 0 });
  }
  expect(space.mappingAt(0)).toBeDefined();
  expect(space.mappingAt(2 * MAPPINGS_MAX)).toBeUndefined();
  const full = space.bytes;
  expect(full).toBeGreaterThan(empty + 64 * MAPPINGS_MAX);
  space.map({ ...mapping(0, 2 * MAPPINGS_MAX, "/y"), mappedCycles: 0 });
  expect(space.bytes).toBeLessThan(empty + 512);
});

test("what all processes take is bounded whatever is said of them", () => {
  const BYTES_MAX = 20_000;
  const step = fc.record({
    kind: fc.constantFrom("map", "fork", "exec", "exit", "lookup", "told"),
    pid: fc.nat(PIDS),
    other: fc.nat(PIDS),
    at: fc.nat(40),
    cycles: fc.nat(20),
    pathBytes: fc.constantFrom(1, 100, 4096),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const symbols = new UserSymbols(NOBODY, BYTES_MAX);
      for (const { kind, pid, other, at, cycles, pathBytes } of steps) {
        const code = mapping(at, at + 5, "x".repeat(pathBytes));
        if (kind === "map") symbols.map(pid, code, cycles);
        else if (kind === "fork") symbols.fork(pid, other, cycles);
        else if (kind === "exec") symbols.exec(pid, cycles);
        else if (kind === "exit") symbols.exit(pid);
        else if (kind === "told") symbols.setMappings(pid, [code]);
        else symbols.lookup(pid, at, cycles);
        expect(symbols.bytes).toBeLessThanOrEqual(BYTES_MAX);
        expect(symbols.bytes).toBeGreaterThanOrEqual(512 * symbols.processCount);
        if (symbols.processCount === 0) expect(symbols.bytes).toBe(0);
      }
    }),
    { numRuns: 500 },
  );
});

test("what no kernel can say is not kept: nothing mapped, or beyond 64 bits", () => {
  const symbols = new UserSymbols(NOBODY);
  symbols.map(1, mapping(0x2000, 0x2000, "/nothing"), 1);
  symbols.map(1, mapping(0x2000, 2 ** 64, "/beyond"), 1);
  symbols.map(1, { ...mapping(0x2000, 0x3000, "/offset"), fileOffset: 2 ** 64 }, 1);
  expect(symbols.lookup(1, 0x2000, 2)).toBeUndefined();
  symbols.map(1, mapping(0x2000, 0xffffffffff601000, "[vsyscall]"), 1);
  expect(symbols.lookup(1, 0x2000, 2)?.module).toBe("[vsyscall]");
});
