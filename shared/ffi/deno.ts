/**
 * Deno backend of "#ffi". Deno returns every i64 as a BigInt, hence the Number() around results
 * that are small by contract (see bun.ts). Checked by `deno check`, not by tsc.
 */
import { type Address, type Bytes, type Ffi, FfiError, NULL_ADDRESS, type Stubs } from "./ffi.ts";
import { type Bootstrap, withImage } from "./image.ts";

const SYMBOLS = {
  vs_syscall: { parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], result: "i64" },
  vs_rdtsc: { parameters: ["i64"], result: "void" },
  vs_bracket: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  vs_read_stamped: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  vs_read_awaited: { parameters: ["i64", "i64", "i64", "i64", "i64"], result: "i64" },
  vs_write_stamped: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  vs_xxh64_init: { parameters: ["i64"], result: "void" },
  vs_xxh64_update: { parameters: ["i64", "i64", "i64"], result: "void" },
  vs_xxh64_digest: { parameters: ["i64", "i64"], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

function openBootstrap(library: string): Bootstrap {
  const { symbols } = Deno.dlopen(library, {
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  return {
    memfdCreate: (name, flags) => symbols.memfd_create(name as BufferSource, flags),
    write: (fd, bytes, length) => Number(symbols.write(fd, bytes as BufferSource, BigInt(length))),
    close: (fd) => symbols.close(fd),
  };
}

function openStubs(): Stubs {
  return withImage(openBootstrap, (path) => {
    const { symbols } = Deno.dlopen(path, SYMBOLS);
    const big = BigInt;
    return {
      syscall: (nr, a, b, c, d, e, f) =>
        Number(symbols.vs_syscall(big(nr), big(a), big(b), big(c), big(d), big(e), big(f))),
      rdtsc: (out) => symbols.vs_rdtsc(big(out)),
      bracket: (gettime, clock, rounds, out) =>
        Number(symbols.vs_bracket(big(gettime), big(clock), big(rounds), big(out))),
      readStamped: (fd, bytes, length, tsc) =>
        Number(symbols.vs_read_stamped(big(fd), big(bytes), big(length), big(tsc))),
      readAwaited: (fd, bytes, length, tsc, cycles) =>
        Number(symbols.vs_read_awaited(big(fd), big(bytes), big(length), big(tsc), big(cycles))),
      writeStamped: (fd, bytes, length, stampAt) =>
        Number(symbols.vs_write_stamped(big(fd), big(bytes), big(length), big(stampAt))),
      xxh64Init: (state) => symbols.vs_xxh64_init(big(state)),
      xxh64Update: (state, from, bytes) =>
        symbols.vs_xxh64_update(big(state), big(from), big(bytes)),
      xxh64Digest: (state, out) => symbols.vs_xxh64_digest(big(state), big(out)),
    };
  });
}

export const ffi: Ffi = {
  runtime: "deno",
  stubs: openStubs(),
  addressOf: (view: Bytes): Address => {
    if (view.byteLength === 0) return NULL_ADDRESS;
    // V8 too moves the bytes of a small typed array out of its heap once the buffer is asked for.
    const pointer = Deno.UnsafePointer.of(view.buffer as ArrayBuffer);
    return (Number(Deno.UnsafePointer.value(pointer)) + view.byteOffset) as Address;
  },
  viewOf: (address: Address, bytes: number): ArrayBuffer => {
    const pointer = Deno.UnsafePointer.create(BigInt(address));
    if (pointer === null) throw new FfiError("Cannot view memory at address 0");
    return Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
  },
};
