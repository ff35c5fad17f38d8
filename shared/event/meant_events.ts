/** Which events a word may mean that is no SYSTEM:NAME: what `list WORD` would show, best first. */

import { similarity } from "../text/similar.ts";
import type { EventName } from "../tracefs/tracefs.ts";

const MEANT_MAX = 3;

/**
 * "exec" -> sched:sched_prepare_exec sched:sched_process_exec writeback:writeback_exec
 * "irq", "irqq"  -> irq:*
 */
export function meantEvents(word: string, events: readonly EventName[]): string[] {
  const systems = [...new Set(events.map(({ system }) => system))];
  if (systems.includes(word)) return [`${word}:*`];
  const ranked = events.map(({ system, name }) => ({
    event: `${system}:${name}`,
    rank: rankOf(word, name),
    length: name.length,
  }));
  const meant = ranked
    .filter(({ rank }) => rank !== undefined)
    .sort((a, b) => a.rank! - b.rank! || a.length - b.length)
    .slice(0, MEANT_MAX)
    .map(({ event }) => event);
  if (meant.length > 0) return meant;
  const similar = systems.filter((system) => word.length >= 3 && similarity(word, system) <= 1);
  return similar.slice(0, MEANT_MAX).map((system) => `${system}:*`);
}

/** 0 same, 1 a part of the name, 2 mistyped, 3 within it. */
function rankOf(word: string, name: string): number | undefined {
  if (word.length < 3) return undefined;
  if (name === word) return 0;
  if (`_${name}_`.includes(`_${word}_`)) return 1;
  if (word.length >= 5 && similarity(word, name) <= 2) return 2;
  return name.includes(word) ? 3 : undefined;
}
