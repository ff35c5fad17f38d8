// How latency tables name events: by label, with the machine in front where the label alone could
// mean another machine's event:
//
//                       start => end                            calls
//     guest 1 sys_enter_write => guest 1 sys_exit_write        271714
//     guest 2 sys_enter_write => guest 2 sys_exit_write          1000
//
// With one guest and events of different names there is nothing to tell apart.

import { machineName } from "../session/machine_name.ts";
import type { SessionEvent } from "../session/session_event.ts";

/** An event of a table. */
export interface TableEvent {
  readonly index: number;
  /** Name or alias. */
  readonly label: string;
  /** "host", "guest 1" */
  readonly machine: string;
  /** As text shows it. */
  readonly text: string;
}

/**
 * A session's events, in the order of their indexes. Guests that join later are to be told apart
 * like those that were there: `hasManyGuests` says whether more than one was asked for.
 */
export function tableEvents(
  events: readonly Pick<SessionEvent, "index" | "label" | "machine">[],
  hasManyGuests: boolean,
): TableEvent[] {
  const owners = new Map<string, number>();
  const shared = new Set<string>();
  for (const { label, machine } of events) {
    if ((owners.get(label) ?? machine) !== machine) shared.add(label);
    owners.set(label, machine);
  }
  return events.map(({ index, label, machine }) => {
    const name = machineName(machine);
    const isNamed = shared.has(label) || (hasManyGuests && machine > 0);
    return { index, label, machine: name, text: isNamed ? `${name} ${label}` : label };
  });
}
