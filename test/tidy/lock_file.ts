/**
 * The npm lock file must serve every platform and name no registry:
 *
 *   "node_modules/bun": {"version": "1.4.5", "optionalDependencies": {"@oven/bun-linux-x64": ...}}
 *
 * npm drops the entry of an optional package that the registry at hand does not carry, and `npm ci`
 * then refuses the file everywhere. Shape: lockfileVersion 3.
 */
import type { Finding } from "./finding.ts";

interface LockEntry {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const PATH = "package-lock.json";

/** Optional packages without an entry, and download addresses. */
export function checkLockFile(text: string): Finding[] {
  const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, LockEntry>> };
  const findings: Finding[] = [];
  const report = (message: string): void => void findings.push({ path: PATH, line: 1, message });
  for (const [name, entry] of Object.entries(packages)) {
    if (entry.resolved !== undefined) report(`"${name}" holds a download address`);
    for (const optional of Object.keys(entry.optionalDependencies ?? {})) {
      if (packages[`node_modules/${optional}`] === undefined) {
        report(`no entry for "${optional}", which "${name}" names: restore it from git`);
      }
    }
  }
  return findings;
}
