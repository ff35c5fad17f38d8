/**
 * Which events of a guest's stream the user's `-e ...pull=...` arguments mean. Several arguments may
 * name one event only when the guest pushes it as often: a record belongs to one argument.
 */

import { globMatcher } from "../../shared/text/glob.ts";
import type { Event } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { SourceError } from "../link/source.ts";
import type { WantedEvent } from "./guest.ts";

export interface MatchedEvent {
  readonly wanted: WantedEvent;
  readonly event: Event;
}

/** Names of a stream's events, for messages: guest text, so only plain characters are shown. */
function listNames(described: readonly Event[]): string {
  const SHOWN_MAX = 8;
  const names = described.slice(0, SHOWN_MAX).map(({ system, name }) => `${system}:${name}`);
  const more = described.length > SHOWN_MAX ? ` and ${described.length - SHOWN_MAX} more` : "";
  return `${names.join(", ").replace(/[^ -~]/g, "?")}${more}`;
}

/** Pairs arguments with events, in the order of the arguments. Throws SourceError. */
export function matchGuestEvents(
  wanted: readonly WantedEvent[],
  described: readonly Event[],
  sourceName: string,
): MatchedEvent[] {
  if (described.length === 0) {
    throw new SourceError(`Cannot use ${sourceName}: it describes no event`);
  }
  const taken = new Set<Event>();
  const matched: MatchedEvent[] = [];
  for (const want of wanted) {
    const { system, name, text } = want.spec;
    const [isSystem, isName] = [globMatcher(system), globMatcher(name)];
    const fitting = described.filter((event) => isSystem(event.system) && isName(event.name));
    if (fitting.length === 0) {
      throw new SourceError(
        `Cannot pull "${system}:${name}" from ${sourceName}: it sends ${listNames(described)}`,
        "name one of these, or push the event in the guest",
      );
    }
    const isWild = /[*?[]/.test(system + name);
    const free = fitting.filter((event) => !taken.has(event));
    if (free.length === 0) {
      throw new SourceError(
        `Cannot pull "${text}" from ${sourceName}: another -e has taken this event`,
        "push it in the guest once for each -e",
      );
    }
    for (const event of isWild ? free : free.slice(0, 1)) {
      taken.add(event);
      matched.push({ wanted: want, event });
    }
  }
  return matched;
}
