/**
 * A program with known call chains: main() calls a(), a() calls b(), b() calls c(), and c() asks
 * the kernel for something in assembly of its own, three times. With frame pointers.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";

export const ABC_CALLS = 3;
/** getsid(), which hardly anybody calls: events of a call are those of the whole machine. */
export const ABC_NUMBER = 124;

/** Innermost first, as chains are printed. */
export const ABC_FRAMES = ["c", "b", "a", "main"];

const SOURCE = `
__attribute__((noinline)) long c(long n) {
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(${ABC_NUMBER}L) : "rcx", "r11", "memory");
  return r + n;
}
__attribute__((noinline)) long b(long n) { return c(n) + 1; }
__attribute__((noinline)) long a(long n) { return b(n) + 1; }
int main(void) {
  long s = 0;
  for (int i = 0; i < ${ABC_CALLS}; i++) s += a(i);
  return s == 12345;
}
`;

/** Compiles it to `path`. Throws Error with what gcc says. */
export function buildAbcProgram(path: string): void {
  const source = `${path}.c`;
  writeFileSync(source, SOURCE);
  const flags = ["-O0", "-fno-omit-frame-pointer", "-o", path, source];
  const gcc = spawnSync("gcc", flags, { encoding: "utf8" });
  if (gcc.status !== 0) throw new Error(`Cannot compile ${source}: ${gcc.stderr}`);
}
