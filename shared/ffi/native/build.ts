/**
 * Compiles stubs.c and writes it, base64, into stubs_x64.gen.ts:
 *
 *   bun shared/ffi/native/build.ts           writes the file
 *   bun shared/ffi/native/build.ts --check   compares; skips, with the reason, when gcc differs
 *
 * The object is committed because a target machine has no compiler; its source lies beside it and
 * test/shared/ffi checks every symbol against an independent implementation.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HERE = import.meta.dirname;
const TARGET = join(HERE, "stubs_x64.gen.ts");
const COMPILER_FLAGS = [
  "-O2",
  "-fPIC",
  "-shared",
  "-nostdlib",
  "-ffreestanding",
  "-fno-stack-protector",
  "-fcf-protection=none",
  "-fno-asynchronous-unwind-tables",
  "-fno-tree-loop-distribute-patterns",
  "-fvisibility=hidden",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-Wl,-z,noseparate-code,--hash-style=sysv,--build-id=none,-z,norelro",
  "-s",
];

function compilerVersion(): string | undefined {
  try {
    return execFileSync("gcc", ["--version"], { encoding: "utf8" }).split("\n")[0];
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

function compile(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "vmspan-stubs-"));
  try {
    const object = join(folder, "stubs.so");
    execFileSync("gcc", [...COMPILER_FLAGS, "-o", object, join(HERE, "stubs.c")]);
    return readFileSync(object);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function render(compiler: string, object: Uint8Array): string {
  const lines =
    Buffer.from(object)
      .toString("base64")
      .match(/.{1,92}/g) ?? [];
  return [
    "/** Generated from stubs.c by native/build.ts. Do not edit; run `make native`. */",
    `export const COMPILER = ${JSON.stringify(compiler)};`,
    "export const IMAGE_BASE64 = [",
    ...lines.map((line) => `  "${line}",`),
    '].join("");',
    "",
  ].join("\n");
}

const compiler = compilerVersion();
if (!process.argv.includes("--check")) {
  if (compiler === undefined) throw new Error("Cannot compile stubs.c: no gcc on PATH");
  writeFileSync(TARGET, render(compiler, compile()));
} else {
  const committed = readFileSync(TARGET, "utf8");
  if (compiler === undefined || !committed.includes(JSON.stringify(compiler))) {
    console.log(`native: not compared, built by another compiler (here: ${compiler ?? "none"})`);
  } else if (committed !== render(compiler, compile())) {
    console.error("native: stubs_x64.gen.ts is stale; run `make native` and commit it");
    process.exit(1);
  } else {
    console.log("native: stubs_x64.gen.ts is fresh");
  }
}
