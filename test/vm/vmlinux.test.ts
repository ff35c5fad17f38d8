/** A kernel out of its bzImage: a made-up one, and the one that guests boot. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { packedKernel, unpackKernel } from "./vmlinux.ts";

/** 1 + 2 sectors of set-up code, then 16 bytes, then 6 packed ones and their length. */
function bzImage(): Uint8Array {
  const image = new Uint8Array(3 * 512 + 16 + 10);
  const view = new DataView(image.buffer);
  image[0x1f1] = 2;
  image.set(Buffer.from("HdrS"), 0x202);
  view.setUint32(0x248, 16, true);
  view.setUint32(0x24c, 10, true);
  image.set([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], 3 * 512 + 16);
  return image;
}

test("packedKernel() finds the packed kernel, without its length", () => {
  expect([...packedKernel(bzImage())!]).toEqual([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
});

test("packedKernel() refuses what is no bzImage, or cut off", () => {
  expect(packedKernel(bzImage().subarray(0, 3 * 512 + 20))).toBeUndefined();
  expect(packedKernel(readFileSync("/bin/sh"))).toBeUndefined();
  expect(packedKernel(new Uint8Array(8))).toBeUndefined();
});

test("unpackKernel() leaves to QEMU what is no bzImage", () => {
  expect(unpackKernel("/bin/sh", "/nonexistent")).toBe("/bin/sh");
});
