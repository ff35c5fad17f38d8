/**
 * Puts the stubs' shared object where dlopen can reach it without touching a disk: a memfd, opened
 * by its /proc path. Both backends use it, so both load exactly the same code. The C library's own
 * write and close are used, as Deno's node:fs refuses descriptors that it did not open.
 */
import process from "node:process";
import { FfiError } from "./ffi.ts";
import { IMAGE_BASE64 } from "./native/stubs_x64.gen.ts";

/** The three functions needed before the stubs exist. Results are -1 on error. */
export interface Bootstrap {
  memfdCreate(name: Uint8Array, flags: number): number;
  write(fd: number, bytes: Uint8Array, length: number): number;
  close(fd: number): number;
}

/** C libraries to take them from: glibc, then musl as Alpine and as Debian name it. */
const C_LIBRARIES = ["libc.so.6", "libc.musl-x86_64.so.1", "/lib/ld-musl-x86_64.so.1"];

const MFD_CLOEXEC = 1;

function openBootstrap(open: (library: string) => Bootstrap): Bootstrap {
  const failures: string[] = [];
  for (const library of C_LIBRARIES) {
    try {
      return open(library);
    } catch (error) {
      failures.push(`${library}: ${(error as Error).message}`);
    }
  }
  throw new FfiError(`Cannot load native code: no usable C library (${failures.join("; ")})`);
}

/**
 * Calls `load` with a path to the shared object. Throws FfiError when this machine cannot run it;
 * arm64 builds exist only to say so.
 */
export function withImage<T>(open: (library: string) => Bootstrap, load: (path: string) => T): T {
  if (process.arch !== "x64") {
    throw new FfiError(
      `Cannot load native code: machine is "${process.arch}", wants "x64" (TSC is an x86 clock)`,
    );
  }
  const c = openBootstrap(open);
  const fd = c.memfdCreate(new TextEncoder().encode("vmspan-stubs\0"), MFD_CLOEXEC);
  if (fd < 0) throw new FfiError("Cannot load native code: memfd_create failed, wants Linux 3.17");
  try {
    const image = Uint8Array.from(atob(IMAGE_BASE64), (char) => char.charCodeAt(0));
    const written = c.write(fd, image, image.length);
    if (written !== image.length) {
      throw new FfiError(`Cannot load native code: wrote ${written} of ${image.length} bytes`);
    }
    return load(`/proc/self/fd/${fd}`);
  } finally {
    c.close(fd);
  }
}
