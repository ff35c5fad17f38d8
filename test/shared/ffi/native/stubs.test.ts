/** Each symbol of native/stubs.c against an implementation that shares no line with it. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ffi } from "../../../../shared/ffi/bun.ts";
import { type Address, NULL_ADDRESS } from "../../../../shared/ffi/ffi.ts";
import { vdsoClockGettime } from "../../../../shared/sys/vdso.ts";
import { xxh64 } from "../../wire/xxh64_reference.ts";

const { stubs, addressOf } = ffi;
const CLOCK_MONOTONIC_RAW = 4;
const EINVAL = 22;

function readTsc(): bigint {
  const out = new BigUint64Array(1);
  stubs.rdtsc(addressOf(out));
  return out[0]!;
}

describe("vs_syscall", () => {
  test("vs_syscall() gives results that node knows too", () => {
    const SYS_GETPID = 39;
    expect(stubs.syscall(SYS_GETPID, 0, 0, 0, 0, 0, 0)).toBe(process.pid);
    const SYS_GETPPID = 110;
    expect(stubs.syscall(SYS_GETPPID, 0, 0, 0, 0, 0, 0)).toBe(process.ppid);
  });

  test("vs_syscall() gives -errno, whatever runs between calls", () => {
    const EBADF = 9;
    for (let i = 0; i < 2000; i++) {
      expect(stubs.syscall(3, 1_000_000, 0, 0, 0, 0, 0)).toBe(-EBADF);
    }
    const ENOSYS = 38;
    expect(stubs.syscall(100_000, 0, 0, 0, 0, 0, 0)).toBe(-ENOSYS);
  });

  test("vs_syscall() passes all six arguments", () => {
    // mmap(2) uses six: the last one, the file offset, is refused when it is no multiple of a page.
    const MMAP = 9;
    const [READ, PRIVATE_ANONYMOUS] = [1, 0x22];
    expect(stubs.syscall(MMAP, 0, 4096, READ, PRIVATE_ANONYMOUS, -1, 1)).toBe(-EINVAL);
    const at = stubs.syscall(MMAP, 0, 4096, READ, PRIVATE_ANONYMOUS, -1, 0);
    expect(at).toBeGreaterThan(0);
    const MUNMAP = 11;
    expect(stubs.syscall(MUNMAP, at, 4096, 0, 0, 0, 0)).toBe(0);
  });

  test("vs_syscall() gives addresses as exact numbers", () => {
    const bytes = new Uint8Array(64);
    const at = addressOf(bytes);
    expect(Number.isSafeInteger(at)).toBe(true);
    expect(at).toBeGreaterThan(4096);
    const view = new Uint8Array(ffi.viewOf(at, 64));
    bytes[63] = 0xa5;
    expect(view[63]).toBe(0xa5);
  });
});

describe("vs_rdtsc", () => {
  test("vs_rdtsc() never goes back", () => {
    let previous = readTsc();
    for (let i = 0; i < 10_000; i++) {
      const now = readTsc();
      expect(now >= previous).toBe(true);
      previous = now;
    }
  });

  test("vs_rdtsc() agrees with a clock of the runtime within the time of the readings", () => {
    const [tsc0, ms0] = [readTsc(), performance.now()];
    while (performance.now() - ms0 < 20);
    const [tsc1, ms1] = [readTsc(), performance.now()];
    const hz = (Number(tsc1 - tsc0) / (ms1 - ms0)) * 1000;
    // Any x86-64 CPU: what matters is that both words lie where they should.
    expect(hz).toBeGreaterThan(0.5e9);
    expect(hz).toBeLessThan(10e9);
  });
});

describe("vs_bracket", () => {
  const gettimes: readonly (readonly [string, Address])[] = [
    ["the vDSO", vdsoClockGettime()],
    ["the system call", NULL_ADDRESS],
  ];
  for (const [name, gettime] of gettimes) {
    test.skipIf(name === "the vDSO" && gettime === NULL_ADDRESS)(
      `vs_bracket() by ${name} lies between two readings of its own`,
      () => {
        const out = new BigUint64Array(3);
        const outside = new BigUint64Array(1);
        for (let i = 0; i < 200; i++) {
          const before = readTsc();
          const status = stubs.bracket(gettime, CLOCK_MONOTONIC_RAW, 8, addressOf(out));
          const after = readTsc();
          expect(status).toBe(0);
          expect(before <= out[0]! && out[0]! < out[2]! && out[2]! <= after).toBe(true);
          expect(out[1]! > outside[0]!).toBe(true);
          outside[0] = out[1]!;
        }
      },
    );
  }

  test("vs_bracket() reads the same clock by both ways", () => {
    if (vdsoClockGettime() === NULL_ADDRESS) return;
    const [first, second, third] = [0, 1, 2].map(() => new BigUint64Array(3));
    stubs.bracket(NULL_ADDRESS, CLOCK_MONOTONIC_RAW, 1, addressOf(first!));
    stubs.bracket(vdsoClockGettime(), CLOCK_MONOTONIC_RAW, 1, addressOf(second!));
    stubs.bracket(NULL_ADDRESS, CLOCK_MONOTONIC_RAW, 1, addressOf(third!));
    expect(first![1]! <= second![1]! && second![1]! <= third![1]!).toBe(true);
  });

  test("vs_bracket() keeps the narrowest of its rounds", () => {
    const out = new BigUint64Array(3);
    const width = (rounds: number): bigint => {
      let narrowest = 1n << 62n;
      for (let i = 0; i < 20; i++) {
        stubs.bracket(NULL_ADDRESS, CLOCK_MONOTONIC_RAW, rounds, addressOf(out));
        const cycles = out[2]! - out[0]!;
        if (cycles < narrowest) narrowest = cycles;
      }
      return narrowest;
    };
    // The best of 20 x 200 rounds cannot lose by much against the best of 20 x 1.
    expect(width(200) <= width(1) * 2n).toBe(true);
  });

  test("vs_bracket() gives -errno for a clock that does not exist, and leaves out alone", () => {
    const out = BigUint64Array.of(1n, 2n, 3n);
    expect(stubs.bracket(NULL_ADDRESS, 9999, 4, addressOf(out))).toBe(-EINVAL);
    expect([...out]).toEqual([1n, 2n, 3n]);
  });
});

describe("vs_xxh64", () => {
  function hashPieces(pieces: readonly Uint8Array[]): bigint {
    const state = new BigUint64Array(9);
    const out = new BigUint64Array(1);
    stubs.xxh64Init(addressOf(state));
    for (const piece of pieces) {
      if (piece.length > 0) stubs.xxh64Update(addressOf(state), addressOf(piece), piece.length);
    }
    stubs.xxh64Digest(addressOf(state), addressOf(out));
    return out[0]!;
  }

  test("vs_xxh64 agrees with the reference for every length around its block sizes", () => {
    const bytes = Uint8Array.from({ length: 140 }, (_, i) => (i * 37 + 11) & 0xff);
    for (let length = 0; length <= bytes.length; length++) {
      const part = bytes.slice(0, length);
      expect(hashPieces([part])).toBe(xxh64(part));
    }
  });

  test("vs_xxh64 gives one digest however the bytes are cut", () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 });
    fc.assert(
      fc.property(pieces, (parts) => {
        const whole = Uint8Array.from(parts.flatMap((part) => [...part]));
        expect(hashPieces(parts)).toBe(xxh64(whole));
      }),
      { numRuns: 500 },
    );
  });

  test("vs_xxh64 digest leaves the state fit for more", () => {
    const state = new BigUint64Array(9);
    const out = new BigUint64Array(1);
    const bytes = Uint8Array.from({ length: 50 }, (_, i) => i);
    stubs.xxh64Init(addressOf(state));
    stubs.xxh64Update(addressOf(state), addressOf(bytes), 33);
    stubs.xxh64Digest(addressOf(state), addressOf(out));
    expect(out[0]).toBe(xxh64(bytes.slice(0, 33)));
    const rest = bytes.slice(33);
    stubs.xxh64Update(addressOf(state), addressOf(rest), rest.length);
    stubs.xxh64Digest(addressOf(state), addressOf(out));
    expect(out[0]).toBe(xxh64(bytes));
  });
});
