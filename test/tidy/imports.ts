/**
 * Which file may import which. Imports point one way:
 *
 *   agent-guest, agent-host  ->  shared/*  ->  shared/sys  ->  #ffi (shared/ffi)
 *
 * The agents never import each other, only shared/sys touches native code, and the pure core holds
 * no descriptors, files or clocks, so that it is tested on plain bytes.
 */
import { posix } from "node:path";
import type { Finding } from "./finding.ts";
import { lineAt, type Source } from "./source.ts";

export interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly typeOnly: boolean;
}

const STATEMENT = /\b(import|export)\s+(type\s+)?(?:[\w$*{][^;"'`]*?\sfrom\s+)?["']([^"'\n]+)["']/g;
const CALL = /\bimport\(\s*["']([^"'\n]+)["']\s*\)/g;
const WORKER = /\bnew\s+URL\(\s*["'](\.[^"'\n]+)["']\s*,\s*import\.meta\.url\s*\)/g;

/** Decoders, expressions and analyses: bytes in, values out. */
const PURE_FOLDERS = ["shared/expr", "shared/text", "agent-host/analyze"];
/** Node modules that reach nothing outside the process. */
const PURE_NODE_MODULES = ["node:path", "node:util"];

/** Every module that `source` names, with `new URL(...)` of workers. */
export function findImports(source: Source): Import[] {
  const text = source.withoutComments;
  const imports: Import[] = [];
  const add = (specifier: string, offset: number, typeOnly: boolean): void => {
    imports.push({ specifier, line: lineAt(text, offset), typeOnly });
  };
  for (const match of text.matchAll(STATEMENT)) {
    // A quoted word of this shape may lie inside a string: there, the code view is blank.
    if (source.code.startsWith(match[1]!, match.index)) {
      add(match[3]!, match.index, match[2] !== undefined);
    }
  }
  for (const match of [...text.matchAll(CALL), ...text.matchAll(WORKER)]) {
    if (source.code[match.index] !== " ") add(match[1]!, match.index, false);
  }
  return imports;
}

/** "shared/sys" for "shared/sys/fd.ts", "agent-host/link" likewise, "test" for all of test/. */
function layerOf(path: string): string {
  const parts = path.split("/");
  return parts[0] === "test" ? "test" : parts.slice(0, parts.length > 2 ? 2 : 1).join("/");
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** Why a file in `from` may not import the file `to`; undefined when it may. */
function refuseFile(from: string, to: string): string | undefined {
  const [layer, target] = [layerOf(from), layerOf(to)];
  const agent = ["agent-guest", "agent-host"].find((name) => isBelow(from, name));
  const targetAgent = ["agent-guest", "agent-host"].find((name) => isBelow(to, name));
  if (target === "test") return "nothing but tests imports test/";
  if (targetAgent !== undefined && targetAgent !== agent) {
    return agent === undefined
      ? `${layer} is below the agents`
      : `${agent} and ${targetAgent} never import each other`;
  }
  if (target === "shared/ffi" && layer !== "shared/ffi" && layer !== "shared/sys") {
    return "only shared/sys imports shared/ffi";
  }
  if (layer === "shared/ffi" && target !== "shared/ffi") return "shared/ffi is at the bottom";
  if (layer === "shared/sys" && target !== "shared/sys" && target !== "shared/ffi") {
    return "shared/sys is below the rest of shared";
  }
  const pure = PURE_FOLDERS.some((folder) => isBelow(from, folder));
  if (pure && target === "shared/sys") return `${layer} is pure: no descriptors, no clocks`;
  return undefined;
}

/** Why a file in `from` may not import the package or built-in `specifier`. */
function refuseModule(from: string, specifier: string): string | undefined {
  const layer = layerOf(from);
  if (specifier === "#ffi") {
    return layer === "shared/sys" ? undefined : "only shared/sys imports #ffi";
  }
  if (specifier === "bun:test") {
    return layer === "test" ? undefined : "only tests import bun:test";
  }
  if (specifier.startsWith("bun")) {
    return from === "shared/ffi/bun.ts" ? undefined : "Deno runs this file too";
  }
  const pure = PURE_FOLDERS.some((folder) => isBelow(from, folder));
  if (pure && specifier.startsWith("node:") && !PURE_NODE_MODULES.includes(specifier)) {
    return `${layer} is pure: no files, no clocks`;
  }
  return undefined;
}

/** Imports of `source` that the direction forbids. */
export function checkImports(source: Source): Finding[] {
  const findings: Finding[] = [];
  const isTest = layerOf(source.path) === "test";
  for (const { specifier, line } of findImports(source)) {
    const refuse = (why: string): void => {
      findings.push({ path: source.path, line, message: `imports "${specifier}": ${why}` });
    };
    if (!specifier.startsWith(".")) {
      const why = refuseModule(source.path, specifier);
      if (why !== undefined) refuse(why);
      continue;
    }
    const to = posix.join(posix.dirname(source.path), specifier);
    const why = isTest ? undefined : refuseFile(source.path, to);
    if (why !== undefined) refuse(why);
  }
  return findings;
}

/** Cycles of imports that exist when the program runs; type imports do not. One finding each. */
export function checkImportCycles(sources: readonly Source[]): Finding[] {
  const graph = new Map<string, readonly string[]>();
  for (const source of sources) {
    const targets = findImports(source).filter((i) => !i.typeOnly && i.specifier.startsWith("."));
    const folder = posix.dirname(source.path);
    graph.set(
      source.path,
      targets.map((i) => posix.join(folder, i.specifier)),
    );
  }
  const findings: Finding[] = [];
  const finished = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const back = trail.indexOf(path);
    if (back >= 0) {
      const cycle = [...trail.slice(back), path].join(" -> ");
      findings.push({ path, line: 1, message: `imports itself: ${cycle}` });
    }
    if (back >= 0 || finished.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    finished.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return findings;
}
