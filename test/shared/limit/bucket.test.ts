/** What may be used up at once, later, and on credit. */
import { describe, expect, test } from "bun:test";
import { Bucket } from "../../../shared/limit/bucket.ts";

describe("Bucket", () => {
  test("left() is all of it at first, and grows by what comes in, up to that", () => {
    const bucket = new Bucket(100, 0.5);
    expect(bucket.left(7000)).toBe(100);
    expect(bucket.take(60)).toBe(40);
    expect(bucket.left(7010)).toBe(45);
    expect(bucket.left(9000)).toBe(100);
  });

  test("take() makes debts, which are paid back first", () => {
    const bucket = new Bucket(100, 1);
    bucket.left(1000);
    expect(bucket.take(130)).toBe(-30);
    expect(bucket.left(1020)).toBe(-10);
    expect(bucket.left(1040)).toBe(10);
  });

  test("take() owes no more than was agreed", () => {
    const bucket = new Bucket(100, 1, 0);
    expect(bucket.take(130)).toBe(0);
    expect(new Bucket(100, 1, -20).take(130)).toBe(-20);
  });
});
