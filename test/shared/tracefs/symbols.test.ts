/** /proc/kallsyms as a symbol table: hand-written texts, and any bytes. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { KALLSYMS_BYTES_MAX, KallsymsResolver } from "../../../shared/tracefs/symbols.ts";

const parse = (text: string) => KallsymsResolver.parse(new TextEncoder().encode(text));

const TEXT = `ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000100 t local_one
ffffffff81000100 W weak_one
ffffffff81000100 T global_one
ffffffff81000200 A absolute
ffffffff81000300 D some_data
ffffffffc0001000 t module_fn\t[virtio_net]
ffffffffc0002000 T module_end\t[virtio_net]
`;

describe("KallsymsResolver", () => {
  const symbols = parse(TEXT);
  const find = (lo: number, hi = 0xffffffff) => {
    const hit = symbols.lookup(lo, hi);
    return hit === undefined ? undefined : `${hit.name}+${hit.offset}`;
  };

  test("lookup() finds the symbol that an address lies in", () => {
    // Of several names the last one, as perf does.
    expect(find(0x81000000)).toBe("_stext+0");
    expect(find(0x810000ff)).toBe("_stext+255");
    expect(find(0x81000104)).toBe("global_one+4");
    expect(find(0x81000250)).toBe("global_one+336");
    expect(find(0xc0001010)).toBe("module_fn+16");
  });

  test("lookup() names the module, whose last symbol ends on the next page", () => {
    const modules = parse(
      `${TEXT}ffffffffc0002010 t last_fn\t[virtio_net]\nffffffffc0200000 t other\t[nbd]\n` +
        "ffffffffc0300000 t far\t[nbd]\n",
    );
    const at = (lo: number) => {
      const hit = modules.lookup(lo, 0xffffffff);
      return hit === undefined ? undefined : `${hit.name} [${hit.module}]`;
    };
    expect(at(0x81000104)).toBe("global_one []");
    expect(at(0xc0001010)).toBe("module_fn [virtio_net]");
    expect(at(0xc0003fff)).toBe("last_fn [virtio_net]");
    expect(at(0xc0004000)).toBeUndefined();
    expect(at(0xc01fffff)).toBeUndefined();
    expect(at(0xc02fffff)).toBe("other [nbd]");
  });

  test("lookup() knows nothing before the first and after the last symbol", () => {
    expect(find(0x80ffffff)).toBeUndefined();
    expect(find(0xc0002000)).toBeUndefined();
    expect(find(0x81000000, 0)).toBeUndefined();
    expect(find(0x81000000, 0x7fffffff)).toBeUndefined();
  });

  test("parse() is empty when kallsyms hides the addresses", () => {
    expect(parse("0000000000000000 T _text\n0000000000000000 T do_idle\n").count).toBe(0);
  });

  test("parse() leaves out what is no symbol, whatever the bytes", () => {
    expect(parse("ffffffff8100000g T x\nffffffff81000000T x\nzz\n\n").count).toBe(0);
    expect(parse("ffffffff81000000 T \x1b[2J\nffffffff81000001 T ok").count).toBe(1);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (noise, at) => {
        const bytes = new TextEncoder().encode(TEXT);
        bytes.set(noise.subarray(0, Math.max(0, bytes.length - at)), at);
        const resolver = KallsymsResolver.parse(bytes);
        const hit = resolver.lookup(0x81000104, 0xffffffff);
        if (hit !== undefined) expect(hit.name).toMatch(/^[\x21-\x7e]+$/);
      }),
      { numRuns: 300 },
    );
  });

  test("parse() refuses a text that is too long", () => {
    expect(() => KallsymsResolver.parse(new Uint8Array(KALLSYMS_BYTES_MAX + 1))).toThrow(
      RangeError,
    );
  });
});
