/** Ownership of mappings: views die before the memory does. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { PAGE_BYTES } from "../../../shared/sys/abi.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { openEventFd } from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";

function isMapped(address: number): boolean {
  const ranges = readFileSync("/proc/self/maps", "utf8").matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm);
  return [...ranges].some(([, from = "", to = ""]) => {
    return Number.parseInt(from, 16) <= address && address < Number.parseInt(to, 16);
  });
}

describe("Mapping", () => {
  test("Mapping.anonymous() gives zeroed memory that can be written", () => {
    using mapping = Mapping.anonymous(3 * PAGE_BYTES);
    const bytes = new Uint8Array(mapping.buffer);
    expect(bytes.length).toBe(3 * PAGE_BYTES);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    bytes.fill(0xff);
    expect(new Uint32Array(mapping.buffer)[0]).toBe(0xffffffff);
    expect(mapping.address % PAGE_BYTES).toBe(0);
  });

  test("close() unmaps", () => {
    // Far larger than what the allocator keeps, so that nothing else takes the place at once.
    const mapping = Mapping.anonymous(64 * 1024 * 1024);
    expect(isMapped(mapping.address)).toBe(true);
    mapping.close();
    expect(isMapped(mapping.address + 32 * 1024 * 1024)).toBe(false);
  });

  test("close() detaches every view, so that a stale one reads nothing", () => {
    const mapping = Mapping.anonymous(PAGE_BYTES);
    const buffer = mapping.buffer;
    const bytes = new Uint8Array(buffer);
    const words = new Uint32Array(buffer, 8, 4);
    const view = new DataView(buffer);
    bytes[0] = 7;
    mapping.close();
    expect(buffer.byteLength).toBe(0);
    expect(bytes.length).toBe(0);
    expect(bytes[0]).toBeUndefined();
    expect(words[0]).toBeUndefined();
    expect(() => view.getUint8(0)).toThrow(TypeError);
  });

  test("close() is idempotent, and never unmaps what came to lie there later", () => {
    const first = Mapping.anonymous(16 * PAGE_BYTES);
    first.close();
    const second = Mapping.anonymous(16 * PAGE_BYTES);
    first.close();
    first[Symbol.dispose]();
    new Uint8Array(second.buffer)[0] = 1;
    expect(isMapped(second.address)).toBe(true);
    second.close();
  });

  test("buffer throws after close()", () => {
    const mapping = Mapping.anonymous(PAGE_BYTES);
    mapping.close();
    expect(() => mapping.buffer).toThrow("Cannot use a mapping: already closed");
  });

  test("Mapping.ofFd() fails with the action that it was given", () => {
    using eventFd = openEventFd();
    expect(() => Mapping.ofFd(eventFd, PAGE_BYTES, "map a ring of 4096 bytes")).toThrow(
      "Cannot map a ring of 4096 bytes: ENODEV (no such device)",
    );
  });

  test("Mapping.anonymous() refuses what cannot be", () => {
    expect(() => Mapping.anonymous(0)).toThrow(SysError);
    expect(() => Mapping.anonymous(2 ** 47)).toThrow("ENOMEM");
  });
});
