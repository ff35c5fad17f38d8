/** Whose fault it is that the events of a guest cannot be used: the user's, or the guest's. */
import { expect, test } from "bun:test";
import { EVENTS_MAX } from "../../../agent-host/analyze/event_lookup.ts";
import { SourceError } from "../../../agent-host/link/source.ts";
import { GuestEvents } from "../../../agent-host/session/guest_events.ts";
import { MachineRings } from "../../../agent-host/session/machine_rings.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { ExprError } from "../../../shared/expr/error.ts";
import { FAKE_EVENT, FAKE_FORMAT, fakeEvent } from "../support/guest_stream.ts";

const OTHER = new TextEncoder().encode(FAKE_FORMAT.replaceAll("value", "other"));

/** What a guest's stream makes of a -e, with that guest's format. */
function begin(session: Session, spec: string, format?: Uint8Array): void {
  const wanted = [{ stage: 0, spec: parseEventSpecs(spec)[0]! }];
  const events = new GuestEvents(session, 1, wanted, "x", () => {});
  const described = [fakeEvent(format === undefined ? {} : { format })];
  events.begin(described, new MachineRings(session, 1), {});
}

for (const [what, spec] of [
  ["key", `${FAKE_EVENT}//key=value/`],
  ["filter", `${FAKE_EVENT}/value==7/`],
  ["role", `${FAKE_EVENT}//role="value?1:2"/`],
] as const) {
  test(`GuestEvents.begin() lays a ${what} that does not fit at the user's door, until there are results`, () => {
    const session = new Session(undefined);
    expect(() => begin(session, spec, OTHER)).toThrow(ExprError);
    session.sink = () => {};
    expect(() => begin(session, spec, OTHER)).toThrow(SourceError);
    expect(() => begin(session, spec, OTHER)).toThrow(
      'Cannot use x: Cannot parse expression: unknown variable "value"',
    );
    expect(session.events.list).toEqual([]);
    begin(session, spec);
    expect(session.events.list).toHaveLength(1);
  });
}

test("GuestEvents.begin() says that a session has no room for more events", () => {
  const session = new Session(undefined);
  begin(session, `${FAKE_EVENT}//key=value/`);
  session.events.list.length = EVENTS_MAX;
  expect(() => begin(session, FAKE_EVENT)).toThrow("Cannot use x: Cannot add an event: there are");
});
