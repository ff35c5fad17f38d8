// The protobuf tool chain in one command, with npm packages only. From the repository root:
//
//   node_modules/.bin/bun proto/generate.ts             generates shared/wire/gen anew
//   node_modules/.bin/bun proto/generate.ts --check     lint; nothing breaks proto/baseline.binpb;
//                                                       shared/wire/gen is what the .proto gives
//   node_modules/.bin/bun proto/generate.ts --baseline  takes today's protocol as the baseline
//
// The baseline is the protocol as released: field numbers and types in it never change.
// Exit 0 done, 1 a check failed, 2 wrong usage.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const REPOSITORY = join(import.meta.dirname, "..");
const GENERATED = "shared/wire/gen";
const BASELINE = "proto/baseline.binpb";
const GENERATE = ["generate", "proto", "--template", "proto/buf.gen.yaml"];

/** Runs buf and says whether it succeeded. Its messages go to the terminal. */
function buf(...args: string[]): boolean {
  const run = spawnSync(join("node_modules", ".bin", "buf"), args, {
    cwd: REPOSITORY,
    stdio: "inherit",
  });
  if (run.error !== undefined) {
    console.error(`Cannot run buf: ${run.error.message}, wanted the npm packages installed`);
    return false;
  }
  return run.status === 0;
}

/** Each file below `folder` with its text. */
function filesIn(folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(folder.length + 1), readFileSync(path, "utf8"));
  }
  return files;
}

function isFresh(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "vmspan-gen-"));
  try {
    if (!buf(...GENERATE, "--output", folder)) return false;
    const wanted = filesIn(join(folder, GENERATED));
    const found = filesIn(join(REPOSITORY, GENERATED));
    const names = new Set([...wanted.keys(), ...found.keys()]);
    const stale = [...names].filter((name) => wanted.get(name) !== found.get(name));
    for (const name of stale) {
      console.error(
        `Cannot accept ${GENERATED}/${name}: stale, wanted what proto/generate.ts writes`,
      );
    }
    return stale.length === 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function check(): boolean {
  // Each of them, so that one run shows all that is wrong.
  const results = [
    buf("lint", "proto"),
    buf("breaking", "proto", "--against", BASELINE),
    isFresh(),
  ];
  return results.every((ok) => ok);
}

function main(args: readonly string[]): number {
  const [mode, ...rest] = args;
  if (rest.length > 0) return usage();
  if (mode === undefined) return buf(...GENERATE) ? 0 : 1;
  if (mode === "--check") return check() ? 0 : 1;
  if (mode === "--baseline") {
    return buf("build", "proto", "--exclude-source-info", "--output", BASELINE) ? 0 : 1;
  }
  return usage();
}

function usage(): number {
  console.error("Usage: bun proto/generate.ts [--check | --baseline]");
  return 2;
}

process.exitCode = main(process.argv.slice(2));
