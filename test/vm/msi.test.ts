/** Reading interrupt lines and MSI-X entries, as different kernels and QEMU print them. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isLogicalDestination, parseMsiLines, parseMsixEntry } from "./msi.ts";

describe("parseMsiLines()", () => {
  test("takes device and entry out of the number that kernels before 6.5 print", () => {
    const text = [
      "           CPU0       CPU1       ",
      "  4:          0          2   IO-APIC   4-edge      ttyS0",
      " 30:        194          6   PCI-MSI 49156-edge      virtio1-input",
      "LOC:        487        760   Local timer interrupts",
    ].join("\n");
    expect(parseMsiLines(text)).toEqual([
      { irq: 30, name: "virtio1-input", count: 200, device: "00:03.0", entry: 4 },
    ]);
  });

  test("reads the line of later kernels", () => {
    const text = " 30:  7  PCI-MSIX-0000:00:03.0    4-edge      virtio1-input\n";
    expect(parseMsiLines(text)).toEqual([
      { irq: 30, name: "virtio1-input", count: 7, device: "00:03.0", entry: 4 },
    ]);
  });

  test("passes over anything else", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => {
        expect(Array.isArray(parseMsiLines(text))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe("parseMsixEntry()", () => {
  test("joins the address and keeps the data", () => {
    const text = "00000000febff040: 0xfee01004 0x00000000 0x00000026 0x00000000\r\n";
    expect(parseMsixEntry(text)).toEqual({ address: 0xfee01004n, data: 0x26 });
  });

  test("refuses other output of the monitor", () => {
    expect(() => parseMsixEntry("Cannot access memory\r\n")).toThrow(SyntaxError);
  });
});

test("isLogicalDestination() looks at bit 2 of the address", () => {
  expect(isLogicalDestination({ address: 0xfee01004n, data: 0 })).toBe(true);
  expect(isLogicalDestination({ address: 0xfee01000n, data: 0 })).toBe(false);
});
