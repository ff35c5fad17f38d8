/**
 * The files of the repository, as a clean checkout has them: what .gitignore names is left out, and
 * git itself is not asked, because an unpacked archive must pass too.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Finding } from "./finding.ts";
import { readSource, type Source } from "./source.ts";

export const ROOT = resolve(import.meta.dirname, "../..");

/** DESIGN fixes these; the rest is what every such project has. */
const TOP_LEVEL = new Set([
  "package.json",
  "tsconfig.json",
  "agent-guest",
  "agent-host",
  "proto",
  "shared",
  "test",
  "Makefile",
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  "LICENSE",
  "SECURITY.md",
  "package-lock.json",
  "biome.json",
  ".ci",
  ".github",
  ".gitignore",
  ".npmrc",
]);
const IGNORED_NAMES = new Set([".git", "node_modules", "dist", "build"]);
const TEXT_FILE = /(?:\.(?:ts|c|h|json|md|proto|yaml|yml|sh|txt|service|conf|toml)|Makefile|run)$/;
const GENERATED = /^shared\/wire\/gen\/|\.gen\.ts$|^package-lock\.json$/;

/** Names at the top level, ignored ones left out. */
export function topLevelNames(): string[] {
  return readdirSync(ROOT).filter(
    (name) => !IGNORED_NAMES.has(name) && !/\.cpuprofile$/.test(name),
  );
}

export function checkTopLevel(names: readonly string[]): Finding[] {
  return names
    .filter((name) => !TOP_LEVEL.has(name))
    .map((name) => ({ path: name, line: 1, message: "not a file that the top level may hold" }));
}

function walk(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (IGNORED_NAMES.has(entry.name)) return [];
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? walk(path) : [path];
  });
}

/** Every hand-written text file. */
export function readTree(): Source[] {
  return walk("")
    .filter((path) => TEXT_FILE.test(path) && !GENERATED.test(path))
    .map((path) => {
      const text = readFileSync(join(ROOT, path), "utf8");
      const plain = { path, text, withoutComments: text, code: text };
      return path.endsWith(".ts") ? readSource(path, text) : plain;
    });
}
