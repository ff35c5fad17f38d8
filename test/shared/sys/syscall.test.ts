/** Addresses that native code keeps: they must hold whatever compiler and collector do. */
import { describe, expect, test } from "bun:test";
import { addressOf, NULL_ADDRESS, viewOf } from "../../../shared/sys/syscall.ts";

const constant = new Uint32Array(6);
const constantAddress = addressOf(constant);

function sumOfConstant(): number {
  return constant[0]! + constant[1]! + constant[5]!;
}

describe("addressOf", () => {
  test("addressOf() of a constant array holds when its readers are compiled", () => {
    const memory = new Uint32Array(viewOf(constantAddress, 24));
    for (let i = 0; i < 20_000; i++) {
      memory[0] = i;
      memory[5] = i;
      if (sumOfConstant() !== 2 * i) throw new Error(`The array left its address in round ${i}`);
    }
    expect(addressOf(constant)).toBe(constantAddress);
  });

  test("addressOf() holds after the array's buffer was asked for", () => {
    const bytes = new Uint8Array(8);
    const address = addressOf(bytes);
    new Uint8Array(bytes.buffer)[3] = 7;
    expect(addressOf(bytes)).toBe(address);
    expect(new Uint8Array(viewOf(address, 8))[3]).toBe(7);
  });

  test("addressOf() of small arrays survives the collector", () => {
    const arrays = Array.from({ length: 500 }, (_, i) => Uint8Array.of(i, i >> 8));
    const addresses = arrays.map((array) => addressOf(array));
    for (let i = 0; i < 5; i++) Bun.gc(true);
    arrays.forEach((array, i) => {
      expect(addressOf(array)).toBe(addresses[i]!);
      expect([...new Uint8Array(viewOf(addresses[i]!, 2))]).toEqual([i & 0xff, i >> 8]);
    });
  });

  test("addressOf() of a part points to the part", () => {
    const whole = new Uint8Array(64);
    expect(addressOf(whole.subarray(7)) - addressOf(whole)).toBe(7);
  });

  test("addressOf() of nothing is NULL", () => {
    expect(addressOf(new Uint8Array(0))).toBe(NULL_ADDRESS);
    expect(addressOf(new Uint8Array(8).subarray(8))).toBe(NULL_ADDRESS);
  });
});
