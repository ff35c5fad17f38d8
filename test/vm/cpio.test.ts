/** cpio archives: the exact header bytes, and what cpio(1) or the kernel would read back. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type CpioEntry, packCpio } from "./cpio.ts";

interface Unpacked {
  readonly name: string;
  readonly mode: number;
  readonly data: Uint8Array;
  readonly device: readonly [number, number];
}

/** An independent reader of the format, as strict as the kernel's init/initramfs.c. */
function unpack(archive: Uint8Array): Unpacked[] {
  const entries: Unpacked[] = [];
  for (let offset = 0; ; ) {
    const header = Buffer.from(archive.subarray(offset, offset + 110)).toString("latin1");
    expect(header.slice(0, 6)).toBe("070701");
    const field = (index: number): number =>
      Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const nameBytes = field(11);
    const name = Buffer.from(archive.subarray(offset + 110, offset + 109 + nameBytes)).toString();
    expect(archive[offset + 109 + nameBytes]).toBe(0);
    offset = (offset + 110 + nameBytes + 3) & ~3;
    if (name === "TRAILER!!!") {
      expect(offset).toBe(archive.length);
      return entries;
    }
    const data = archive.slice(offset, offset + field(6));
    entries.push({ name, mode: field(1), data, device: [field(9), field(10)] });
    offset = (offset + field(6) + 3) & ~3;
  }
}

test("packCpio() writes the header byte for byte", () => {
  const archive = packCpio([{ kind: "file", path: "a", data: Uint8Array.of(0x78), mode: 0o755 }]);
  expect(Buffer.from(archive.subarray(0, 116)).toString("latin1")).toBe(
    "070701" +
      "00000001000081ed0000000000000000" +
      "00000001000000000000000100000000" +
      "00000000000000000000000000000002" +
      "00000000a\0x\0\0\0",
  );
});

test("packCpio() keeps kinds, modes, device numbers and order", () => {
  const entries: CpioEntry[] = [
    { kind: "directory", path: "dev" },
    { kind: "character", path: "dev/console", major: 5, minor: 1 },
    { kind: "symlink", path: "sh", target: "busybox" },
  ];
  expect(unpack(packCpio(entries)).map(({ name, mode }) => [name, mode.toString(8)])).toEqual([
    ["dev", "40755"],
    ["dev/console", "20600"],
    ["sh", "120777"],
  ]);
  expect(unpack(packCpio(entries))[1]!.device).toEqual([5, 1]);
});

test("packCpio() gives back any file content", () => {
  const file = fc.record({
    path: fc.stringMatching(/^[a-z]{1,20}$/),
    data: fc.uint8Array({ maxLength: 64 }),
  });
  fc.assert(
    fc.property(fc.array(file, { maxLength: 8 }), (files) => {
      const archive = packCpio(files.map(({ path, data }) => ({ kind: "file", path, data })));
      const read = unpack(archive).map(({ name, data }) => ({ path: name, data }));
      expect(read).toEqual(files);
    }),
    { numRuns: 200 },
  );
});

test("packCpio() refuses absolute and empty paths", () => {
  for (const path of ["/init", ""]) {
    expect(() => packCpio([{ kind: "directory", path }])).toThrow(RangeError);
  }
});
