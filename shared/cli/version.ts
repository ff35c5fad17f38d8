/** The version that `--version` prints: package.json's and the commit, put in at compile time. */
import { runtimeName } from "../sys/syscall.ts";

declare const VMSPAN_VERSION: string | undefined;

/** Whether this is one of the binaries, and not the source run by Bun or Deno. */
export const IS_COMPILED: boolean = typeof VMSPAN_VERSION === "string";

/** "0.1.0+1e60bb7", or "source" when not compiled. */
export const VERSION: string = typeof VMSPAN_VERSION === "string" ? VMSPAN_VERSION : "source";

/** What `--version` prints: "agent-guest 0.1.0+1e60bb7 (bun)". */
export function versionLine(program: string): string {
  return `${program} ${VERSION} (${runtimeName})`;
}
