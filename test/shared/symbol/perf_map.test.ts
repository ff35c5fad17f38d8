/** What a just-in-time compiler says of its code. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PerfMap } from "../../../shared/symbol/perf_map.ts";

const MAP = `7f3b5c001060 5c LazyCompile:~handle server.js:12
7f3b5c0010c0 20 old
7f3b5c0010c0 10 new
0x7f3b5c002000 0x8 with prefixes
not a line
`;

describe("PerfMap", () => {
  test("lookup() finds the function that holds an address", () => {
    const map = PerfMap.parse(MAP);
    const find = (address: number) => map.lookup(address)?.name;
    expect(map.count).toBe(3);
    expect(find(0x7f3b5c001060)).toBe("LazyCompile:~handle server.js:12");
    expect(find(0x7f3b5c0010bc)).toBeUndefined();
    expect(map.lookup(0x7f3b5c0010cf)).toEqual({ name: "new", offset: 15 });
    expect(find(0x7f3b5c0010d0)).toBeUndefined();
    expect(find(0x7f3b5c002007)).toBe("with prefixes");
    expect(find(0)).toBeUndefined();
  });

  test("parse() of any text is a map", () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(MAP.length), (noise, at) => {
        const map = PerfMap.parse(MAP.slice(0, at) + noise + MAP.slice(at));
        map.lookup(0x7f3b5c001070);
        expect(map.count).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
