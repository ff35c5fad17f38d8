/** SECURITY.md: its table of limits, and its table of capabilities, say what the code says. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HOST_CAPABILITY_CHECKS } from "../../shared/cli/capability_checks.ts";
import { ROOT } from "./tree.ts";

const text = readFileSync(join(ROOT, "SECURITY.md"), "utf8");
const UNITS: Readonly<Record<string, number>> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** "16 MiB" as a number. */
function shownValue(shown: string): number {
  const match = /^(\d+)(?: (KiB|MiB|GiB))?$/.exec(shown.trim());
  if (match === null) throw new Error(`"${shown}" is no value`);
  return Number(match[1]) * UNITS[match[2] ?? ""]!;
}

/** The value of `const NAME = 4 * 1024;` in a file. */
function constantOf(file: string, name: string): number {
  const source = readFileSync(join(ROOT, file), "utf8");
  const expression = new RegExp(`\\bconst ${name} = ([^;]+);`).exec(source)?.[1];
  if (expression === undefined) throw new Error(`${file} has no constant ${name}`);
  const shift = /^(\d+) << (\d+)$/.exec(expression);
  if (shift !== null) return Number(shift[1]) * 2 ** Number(shift[2]);
  const factors = expression.replaceAll("_", "").split(" * ").map(Number);
  return factors.reduce((product, factor) => product * factor, 1);
}

interface Limit {
  readonly file: string;
  readonly name: string;
  readonly shown: string;
}

/** Rows of the table; one may name several constants, of one file or of several. */
function limits(): Limit[] {
  return [...text.matchAll(/^\| [^|]+ \| (`[A-Z_]+`[^|]* in [^|]+) \| ([^|]+) \|$/gm)].flatMap(
    ([, constants, values]) => {
      const names = [...constants!.matchAll(/`([A-Z_]+)`/g)];
      const shown = values!.split(", ");
      return names.map(({ 1: name, index }, i) => {
        const file = / in ([a-z_/-]+\.ts)/.exec(constants!.slice(index))![1]!;
        return { file, name: name!, shown: shown[i]! };
      });
    },
  );
}

test("the limits in SECURITY.md are those of the code", () => {
  const found = limits();
  expect(found.length).toBeGreaterThan(20);
  const wrong = found
    .map((limit) => ({ ...limit, actual: constantOf(limit.file, limit.name) }))
    .filter(({ actual, shown }) => actual !== shownValue(shown));
  expect(wrong).toEqual([]);
});

test("the capabilities in SECURITY.md are those that doctor asks about", () => {
  const named = [...text.matchAll(/^\| (CAP_[A-Z_]+) \|/gm)].map((match) => match[1]!);
  const checked = HOST_CAPABILITY_CHECKS.map(({ name }) => name);
  expect(named.sort()).toEqual([...checked, "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"].sort());
});
