/**
 * What a host may ask of a guest that serves, as the guest's own configuration says. A host cannot
 * change any of it; what goes beyond is refused or shed, and said so.
 */

import { globMatcher } from "../../shared/text/glob.ts";
import { similarNames } from "../../shared/text/similar.ts";
import type { EventName } from "../../shared/tracefs/tracefs.ts";

export interface Limits {
  /** Events that may be open at a time. */
  readonly eventsMax: number;
  /** Size of each CPU's ring. */
  readonly ringBytesMax: number;
  /** Globs of SYSTEM:NAME: what may be listed and opened. */
  readonly allow: readonly string[];
  /** Globs of what may not, whatever `allow` says. */
  readonly deny: readonly string[];
  /** Kprobes and uprobes may be made: their arguments read any memory of the guest. */
  readonly allowsProbes: boolean;
  /** How long events are kept for a host that vanished without a goodbye. */
  readonly graceMs: number;
  readonly rates: RateLimits;
}

/** What the agent may use up in a second; Infinity where there is no limit. */
export interface RateLimits {
  /** Of one CPU: 0.02 is 2 %. */
  readonly cpuShareMax: number;
  readonly bytesPerSecondMax: number;
  readonly eventsPerSecondMax: number;
}

export const NO_RATE_LIMITS: RateLimits = {
  cpuShareMax: Infinity,
  bytesPerSecondMax: Infinity,
  eventsPerSecondMax: Infinity,
};

export const LIMITS_DEFAULT: Limits = {
  eventsMax: 1024,
  ringBytesMax: 4 * 1024 * 1024,
  allow: ["*:*"],
  deny: [],
  allowsProbes: false,
  graceMs: 10_000,
  rates: NO_RATE_LIMITS,
};

/** "irq:*" as a test of an event's name; "irq" alone means all of the system. */
function eventMatcher(pattern: string): (event: EventName) => boolean {
  const colon = pattern.indexOf(":");
  const isSystem = globMatcher(colon < 0 ? pattern : pattern.slice(0, colon));
  const isName = globMatcher(colon < 0 ? "*" : pattern.slice(colon + 1));
  return ({ system, name }) => isSystem(system) && isName(name);
}

/**
 * What `allow` and `deny` name and this kernel does not have: a typing error there opens what was
 * to be denied, or allows nothing.
 *
 *   deny "syscall:*" is no event of this kernel (did you mean syscalls:*?)
 */
export function idlePatterns({ allow, deny }: Limits, events: readonly EventName[]): string[] {
  const systems = [...new Set(events.map(({ system }) => system))];
  const idle = (setting: string, patterns: readonly string[]): string[] =>
    patterns
      .filter((pattern) => !events.some(eventMatcher(pattern)))
      .map((pattern) => {
        const [system = "", name] = pattern.split(":");
        const similar = systems.includes(system) ? [] : similarNames(system, systems, 1);
        const meant = similar.map((each) => (name === undefined ? each : `${each}:${name}`));
        const hint = meant.length === 0 ? "" : ` (did you mean ${meant[0]}?)`;
        return `${setting} "${pattern}" is no event of this kernel${hint}`;
      });
  return [...idle("allow", allow), ...idle("deny", deny)];
}

/** Which tracepoints a host may list and open. Throws RangeError for a pattern that is too long. */
export function eventPolicy({ allow, deny }: Limits): (event: EventName) => boolean {
  const allowed = allow.map(eventMatcher);
  const denied = deny.map(eventMatcher);
  return (event) => allowed.some((fits) => fits(event)) && !denied.some((fits) => fits(event));
}
