/**
 * `list --pull SOURCE`: the events that a guest's stream or a recording holds, or that a guest that
 * serves allows to be opened, with the guest's own formats. The stream is attached to only as long
 * as it takes to be told.
 */
import type { ListedEvent } from "../shared/event/listing.ts";
import { PollSet } from "../shared/sys/poll.ts";
import { FORMAT_BYTES_MAX, FormatError } from "../shared/tracefs/format.ts";
import type { Event } from "../shared/wire/gen/vmspan/v1/channel.ts";
import { GuestLink } from "./link/guest_link.ts";
import type { GuestListener } from "./link/guest_listener.ts";
import { DescribeQuestion } from "./link/guest_question.ts";
import { parsePullTarget } from "./link/pull_target.ts";
import { Source, SourceError } from "./link/source.ts";
import { PATIENCE_MS, unreadyError } from "./link/unready_source.ts";

/** How long a live source may take to say what it sends. */
const ANSWER_MS_MAX = 10_000;
const POLL_MS = 50;

/** Takes the events of the first stream, and nothing else. */
class EventsListener implements GuestListener {
  events: readonly Event[] | undefined;

  onStream(_hello: unknown, events: readonly Event[]): void {
    this.events ??= events;
  }
  onClockSample(): void {}
  onSamples(): void {}
  onProgress(): void {}
  onPong(): void {}
  onTask(): void {}
  onSymbols(): void {}
  onLost(): void {}
  onStats(): void {}
  positions(): [] {
    return [];
  }
}

function toListed({ system, name, alias, filter, refusedFilter, format }: Event): ListedEvent {
  return {
    system,
    name,
    alias,
    filter: filter === "" ? refusedFilter : filter,
    formatText: () => {
      if (format.length > FORMAT_BYTES_MAX) throw new FormatError("text is too long");
      return new TextDecoder("latin1").decode(format);
    },
  };
}

/** The events of a source. Throws PullSourceError, SourceError. */
export function sourceEvents(
  pull: string,
  agentVersion: string,
  onStatus: (text: string) => void,
): ListedEvent[] {
  const source = new Source(parsePullTarget(pull), onStatus);
  const poll = new PollSet();
  try {
    const listener = new EventsListener();
    const question = new DescribeQuestion("");
    const link = new GuestLink(source, listener, agentVersion, question);
    const told = (): readonly Event[] | undefined =>
      listener.events ?? (question.isAnswered ? question.events : undefined);
    const startMs = performance.now();
    let hasComplained = false;
    while (told() === undefined) {
      const nowMs = performance.now();
      if (nowMs - startMs > ANSWER_MS_MAX) throw unreadyError("list the events of", link, startMs);
      if (!hasComplained && nowMs - startMs > PATIENCE_MS) {
        hasComplained = true;
        onStatus(`Waiting for ${link.waitingFor} ...`);
      }
      link.receive(nowMs);
      if (source.hasEnded && told() === undefined) {
        throw new SourceError(`Cannot list the events of ${source.name}: it ended before it told`);
      }
      link.tick(nowMs);
      if (source.isFile || told() !== undefined) continue;
      poll.clear();
      poll.add(source.fd.number, source.pollEvents);
      poll.wait(POLL_MS);
    }
    if (!source.isFile) {
      link.leave();
      source.flush();
    }
    if (question.isAnswered && question.events.length === 0) {
      throw new SourceError(
        `Cannot list the events of ${source.name}: the guest allows no event`,
        "allow and deny are set in the guest: in its agent-guest.toml, or by options of serve",
      );
    }
    return told()!.map(toListed);
  } finally {
    source.close();
    poll.close();
  }
}
