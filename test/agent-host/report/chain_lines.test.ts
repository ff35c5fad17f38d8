/** Call chains as lines and as JSON: every name that is shown may be a guest's own. */
import { describe, expect, test } from "bun:test";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { type ChainSymbols, ChainWriter } from "../../../agent-host/report/chain_lines.ts";
import type { SymbolHit } from "../../../shared/tracefs/symbols.ts";
import { u32, u64 } from "../analyze/record_bytes.ts";
import { textOf } from "./lines.ts";

const high = (low: number): number[] => [...u32(low >>> 0), ...u32(0xffffffff)];
const ENTRIES = [high(-128), high(0x821f8b58), high(-512), u64(0x7f33ff10e137), u64(0x401000)];

function viewOf(entries: readonly (readonly number[])[]): EventView {
  const view = new EventView();
  view.bytes = Uint8Array.from([...u64(0), ...u64(entries.length), ...entries.flat()]);
  view.chainOffset = 8;
  view.pid = 42;
  view.timeCycles = 7;
  return view;
}

function symbolsOf(kernel: SymbolHit | undefined, user: SymbolHit | undefined): ChainSymbols {
  return { kernel: () => kernel, user: () => user };
}

const writer = new ChainWriter();
const lines = (symbols?: ChainSymbols): string =>
  textOf((out) => writer.writeLines(out, viewOf(ENTRIES), symbols));
const json = (symbols?: ChainSymbols): unknown =>
  JSON.parse(textOf((out) => writer.writeJson(out, viewOf(ENTRIES), symbols)));

const LIBC = "/usr/lib/libc.so.6";
const NAMED = symbolsOf(
  { name: "__schedule", offset: 0x618, module: "" },
  { name: "write", offset: 0x17, module: LIBC },
);

describe("ChainWriter", () => {
  test("writeLines() prints address, function, offset and whose it is", () => {
    expect(lines(NAMED)).toBe(
      "    ffffffff821f8b58 __schedule+0x618 ([kernel.kallsyms])\n" +
        "        7f33ff10e137 write+0x17 (/usr/lib/libc.so.6)\n" +
        "              401000 write+0x17 (/usr/lib/libc.so.6)\n",
    );
  });

  test("writeLines() says what is not known", () => {
    expect(lines()).toBe(
      "    ffffffff821f8b58 [unknown] ([kernel.kallsyms])\n" +
        "        7f33ff10e137 [unknown] ([unknown])\n" +
        "              401000 [unknown] ([unknown])\n",
    );
    const files = symbolsOf(
      { name: "ring", offset: 1, module: "virtio_ring" },
      { name: "", offset: 0, module: LIBC },
    );
    expect(lines(files).split("\n").slice(0, 2)).toEqual([
      "    ffffffff821f8b58 ring+0x1 ([virtio_ring])",
      "        7f33ff10e137 [unknown] (/usr/lib/libc.so.6)",
    ]);
  });

  test("names cannot steer the terminal or forge a line", () => {
    const evil = symbolsOf(
      { name: "a\x1b[2J\n", offset: 0, module: "m\x9b\n" },
      { name: "b\n    ffff c+0x1 (x)\u202e", offset: 2 ** 47, module: 'x")\r' },
    );
    const text = lines(evil);
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    expect(text.split("\n").length).toBe(4);
    expect(text).toContain("a\\x1b[2J\\x0a+0x0 ([m\\x9b\\x0a])");
    expect(text).toContain("+0x800000000000 (");
    const frames = json(evil) as { symbol: string; module: string }[];
    expect(frames[0]).toMatchObject({ symbol: "a\x1b[2J\n", module: "[m\x9b\n]" });
    expect(textOf((out) => writer.writeJson(out, viewOf(ENTRIES), evil))).toMatch(/^[ -~]*$/);
  });

  test("writeJson() gives an array of frames", () => {
    expect(json(NAMED)).toEqual([
      {
        ip: "ffffffff821f8b58",
        symbol: "__schedule",
        offset: 0x618,
        module: "[kernel.kallsyms]",
      },
      { ip: "7f33ff10e137", symbol: "write", offset: 0x17, module: LIBC },
      { ip: "401000", symbol: "write", offset: 0x17, module: LIBC },
    ]);
    expect(json()).toMatchObject([{ symbol: null }, { symbol: null }, { symbol: null }]);
  });

  test("symbols are asked with the event's process and time", () => {
    const asked: number[][] = [];
    const symbols = {
      kernel: () => undefined,
      user: (...args: number[]) => {
        asked.push(args);
        return undefined;
      },
    };
    lines(symbols);
    expect(asked).toEqual([
      [42, 0xff10e137, 0x7f33, 7],
      [42, 0x401000, 0, 7],
    ]);
  });
});
