/** How loading native code fails: each way with a message that says what is missing. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { FfiError } from "../../../shared/ffi/ffi.ts";
import { type Bootstrap, withImage } from "../../../shared/ffi/image.ts";
import { IMAGE_BASE64 } from "../../../shared/ffi/native/stubs_x64.gen.ts";

const IMAGE_BYTES = atob(IMAGE_BASE64).length;

function fakeLibrary(changes: Partial<Bootstrap> = {}): Bootstrap & { closed: number[] } {
  const closed: number[] = [];
  return {
    closed,
    memfdCreate: () => 77,
    write: (_fd, _bytes, length) => length,
    close: (fd) => closed.push(fd),
    ...changes,
  };
}

function failureOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("Cannot happen: it did not fail");
}

/** Descriptors of the runtime may be closed between being listed and being read. */
function linkTarget(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return "";
    throw error;
  }
}

describe("withImage", () => {
  test("withImage() tries glibc, then musl, and names all when none is there", () => {
    const tried: string[] = [];
    const error = failureOf(() =>
      withImage(
        (library) => {
          tried.push(library);
          throw new Error("not found");
        },
        () => 0,
      ),
    );
    expect(error).toBeInstanceOf(FfiError);
    expect(tried).toEqual(["libc.so.6", "libc.musl-x86_64.so.1", "/lib/ld-musl-x86_64.so.1"]);
    for (const library of tried) expect(error.message).toContain(`${library}: not found`);
  });

  test("withImage() takes the first library that opens", () => {
    const library = fakeLibrary();
    const tried: string[] = [];
    const path = withImage(
      (name) => {
        tried.push(name);
        if (name === "libc.so.6") throw new Error("musl machine");
        return library;
      },
      (loaded) => loaded,
    );
    expect(tried.length).toBe(2);
    expect(path).toBe("/proc/self/fd/77");
    expect(library.closed).toEqual([77]);
  });

  test("withImage() gives load() the whole image", () => {
    let written = new Uint8Array();
    const library = fakeLibrary({
      write: (_fd, bytes, length) => {
        written = bytes.slice(0, length);
        return length;
      },
    });
    withImage(
      () => library,
      () => 0,
    );
    expect(written.length).toBe(IMAGE_BYTES);
    expect([...written.slice(0, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
  });

  test("withImage() fails where there is no memfd", () => {
    const library = fakeLibrary({ memfdCreate: () => -1 });
    const error = failureOf(() =>
      withImage(
        () => library,
        () => 0,
      ),
    );
    expect(error).toBeInstanceOf(FfiError);
    expect(error.message).toContain("memfd_create failed");
  });

  test("withImage() fails on a short write, and closes the memfd", () => {
    const library = fakeLibrary({ write: () => 100 });
    const error = failureOf(() =>
      withImage(
        () => library,
        () => 0,
      ),
    );
    expect(error.message).toBe(`Cannot load native code: wrote 100 of ${IMAGE_BYTES} bytes`);
    expect(library.closed).toEqual([77]);
  });

  test("withImage() closes the memfd when load() throws", () => {
    const library = fakeLibrary();
    expect(() =>
      withImage(
        () => library,
        () => {
          throw new Error("cannot map");
        },
      ),
    ).toThrow("cannot map");
    expect(library.closed).toEqual([77]);
  });

  test("withImage() leaves a mapping and no descriptor behind", async () => {
    await import("../../../shared/ffi/bun.ts");
    expect(readFileSync("/proc/self/maps", "utf8")).toMatch(/r-xp .*memfd:vmspan-stubs/);
    const targets = readdirSync("/proc/self/fd").map(linkTarget);
    expect(targets.filter((name) => name.includes("vmspan-stubs"))).toEqual([]);
  });
});
