/** A kernel's functions in pieces: there and back, the running kernel's own, and any bytes. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { kallsymsPieces } from "../../../shared/symbol/kallsyms_pieces.ts";
import {
  PIECE_BYTES,
  SymbolPieceError,
  SymbolPieceReader,
  SymbolPieceWriter,
} from "../../../shared/symbol/symbol_pieces.ts";
import { KallsymsResolver } from "../../../shared/tracefs/symbols.ts";
import { perNight } from "../../nightly.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-pieces-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const T = 0x54;
const text = (name: string): Uint8Array => new TextEncoder().encode(name);

function tableOf(pieces: Iterable<Uint8Array>): KallsymsResolver {
  const reader = new SymbolPieceReader();
  for (const piece of pieces) reader.add(piece);
  return reader.table();
}

function piecesOf(kallsyms: string): Uint8Array[] {
  const path = join(folder, "kallsyms");
  writeFileSync(path, kallsyms);
  return [...kallsymsPieces(path)];
}

const KERNEL_TEXT = `ffffffff81000000 T _text
ffffffff81000010 t __pfx_do_idle
ffffffff81000020 t do_idle
ffffffff81000300 D some_data
ffffffffc0001000 t module_fn\t[virtio_net]
ffffffffc0000800 W weak_fn\t[virtio_net]
ffffffffc0100000 t other\t[nbd]
ffffffffc0200000 T end\t[nbd]
`;

describe("SymbolPieceWriter and SymbolPieceReader", () => {
  test("a piece is the bytes that the header says", () => {
    const writer = new SymbolPieceWriter();
    writer.add(-0x7f000000, T, "", text("_text"), 0, 5);
    writer.add(-0x7effffff, T, "nbd", text("xy"), 1, 2);
    expect([...writer.take()]).toEqual([
      ...[T, 0xff, 0xff, 0xff, 0xef, 0x0f, 5, ...text("_text")],
      ...[0x4d, 3, ...text("nbd"), T, 0x02, 1, ...text("y")],
    ]);
    expect(writer.isEmpty).toBe(true);
  });

  test("functions of kallsyms come back with their modules; data and padding are left out", () => {
    const table = tableOf(piecesOf(KERNEL_TEXT));
    const at = (lo: number) => {
      const hit = table.lookup(lo, 0xffffffff);
      return hit && `${hit.name}+${hit.offset} [${hit.module}]`;
    };
    expect(table.count).toBe(6);
    expect(at(0x81000010)).toBe("_text+16 []");
    expect(at(0x81000021)).toBe("do_idle+1 []");
    expect(at(0xc0000801)).toBe("weak_fn+1 [virtio_net]");
    expect(at(0xc0001001)).toBe("module_fn+1 [virtio_net]");
    expect(at(0xc0100001)).toBe("other+1 [nbd]");
  });

  test("kallsyms that hides its addresses gives no piece", () => {
    expect(piecesOf("0000000000000000 T _text\n0000000000000000 t do_idle\n")).toEqual([]);
  });

  test("kallsyms with endless lines gives what is a line", () => {
    const long = "x".repeat(100_000);
    expect(tableOf(piecesOf(`${long}\n${KERNEL_TEXT}${long}`)).count).toBe(6);
  });

  test("the running kernel's pieces name what its kallsyms names", () => {
    const pieces = [...kallsymsPieces()];
    const whole = KallsymsResolver.parse(readFileSync("/proc/kallsyms"));
    if (whole.count === 0) {
      expect(pieces).toEqual([]);
      return;
    }
    const table = tableOf(pieces);
    let [compared, bytes] = [0, 0];
    for (const piece of pieces) {
      expect(piece.length).toBeLessThanOrEqual(PIECE_BYTES);
      bytes += piece.length;
    }
    for (let lo = 0x81000000; lo < 0x82000000; lo += 4093) {
      const wanted = whole.lookup(lo, 0xffffffff);
      // Padding in front of functions, and data, are no functions.
      if (wanted === undefined || wanted.name.startsWith("__pfx_")) continue;
      const { name, offset } = wanted;
      const hit = table.lookup(lo, 0xffffffff);
      if (hit?.name === name) {
        expect(hit.offset).toBe(offset);
        compared++;
      }
    }
    console.log(`${table.count} functions in ${bytes} bytes; ${compared} addresses compared`);
    expect(compared).toBeGreaterThan(2000);
  });

  const runs = perNight(2000, 100_000);
  test(`any bytes are functions or a SymbolPieceError (${runs} pieces)`, () => {
    const sound = piecesOf(KERNEL_TEXT)[0]!;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(sound.length),
        fc.uint8Array({ maxLength: 40 }),
        (changes, cut, tail) => {
          const bytes = Uint8Array.from([...sound.subarray(0, sound.length - cut), ...tail]);
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          const reader = new SymbolPieceReader();
          try {
            reader.add(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(SymbolPieceError);
          }
          const hit = reader.table().lookup(0x81000021, 0xffffffff);
          if (hit !== undefined) expect(hit.name.length).toBeLessThanOrEqual(512);
        },
      ),
      { numRuns: runs },
    );
  });
});
