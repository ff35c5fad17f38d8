/**
 * Bun backend of "#ffi". `i64_fast` gives plain numbers for every value that a stub returns: all
 * are addresses below 2^47 or errors above -4096, never near 2^53 where Bun would switch to BigInt.
 */
import { dlopen, FFIType, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { type Address, type Bytes, type Ffi, NULL_ADDRESS, type Stubs } from "./ffi.ts";
import { type Bootstrap, withImage } from "./image.ts";

const SYMBOLS = {
  vs_syscall: {
    args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"],
    returns: FFIType.i64_fast,
  },
  vs_rdtsc: { args: ["ptr"], returns: "void" },
  vs_bracket: { args: ["i64", "i64", "i64", "ptr"], returns: FFIType.i64_fast },
  vs_read_stamped: { args: ["i64", "ptr", "i64", "ptr"], returns: FFIType.i64_fast },
  vs_read_awaited: { args: ["i64", "ptr", "i64", "ptr", "i64"], returns: FFIType.i64_fast },
  vs_write_stamped: { args: ["i64", "ptr", "i64", "i64"], returns: FFIType.i64_fast },
  vs_xxh64_init: { args: ["ptr"], returns: "void" },
  vs_xxh64_update: { args: ["ptr", "ptr", "i64"], returns: "void" },
  vs_xxh64_digest: { args: ["ptr", "ptr"], returns: "void" },
} as const;

function openBootstrap(library: string): Bootstrap {
  const { symbols } = dlopen(library, {
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    write: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
    close: { args: ["i32"], returns: "i32" },
  });
  return {
    memfdCreate: (name, flags) => symbols.memfd_create(ptr(name), flags),
    write: (fd, bytes, length) => Number(symbols.write(fd, ptr(bytes), length)),
    close: (fd) => symbols.close(fd),
  };
}

function openStubs(): Stubs {
  return withImage(openBootstrap, (path) => {
    const { symbols } = dlopen(path, SYMBOLS);
    return {
      syscall: symbols.vs_syscall as unknown as Stubs["syscall"],
      rdtsc: symbols.vs_rdtsc as unknown as Stubs["rdtsc"],
      bracket: symbols.vs_bracket as unknown as Stubs["bracket"],
      readStamped: symbols.vs_read_stamped as unknown as Stubs["readStamped"],
      readAwaited: symbols.vs_read_awaited as unknown as Stubs["readAwaited"],
      writeStamped: symbols.vs_write_stamped as unknown as Stubs["writeStamped"],
      xxh64Init: symbols.vs_xxh64_init as unknown as Stubs["xxh64Init"],
      xxh64Update: symbols.vs_xxh64_update as unknown as Stubs["xxh64Update"],
      xxh64Digest: symbols.vs_xxh64_digest as unknown as Stubs["xxh64Digest"],
    };
  });
}

export const ffi: Ffi = {
  runtime: "bun",
  stubs: openStubs(),
  // A small typed array keeps its bytes in the garbage-collected heap until something asks for its
  // buffer, and asking moves them; the optimising compiler asks when it folds a constant array. So
  // they are moved here, before anybody holds the address: ArrayBuffer memory stays where it is.
  addressOf: (view: Bytes): Address =>
    view.byteLength === 0 ? NULL_ADDRESS : ((ptr(view.buffer) + view.byteOffset) as Address),
  viewOf: (address: Address, bytes: number): ArrayBuffer =>
    toArrayBuffer(address as number as Pointer, 0, bytes),
};
