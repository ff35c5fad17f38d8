/** list: selection by patterns, text and JSON of events, whatever their formats say. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type ListedEvent,
  type ListOptions,
  listMatcher,
  NoEventError,
  selectListed,
  writeListing,
} from "../../../shared/event/listing.ts";
import { FormatError } from "../../../shared/tracefs/format.ts";

const FORMAT = `name: irq_handler_entry
ID: 225
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int irq;\toffset:8;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] name;\toffset:12;\tsize:4;\tsigned:0;

print fmt: "irq=%d name=%s", REC->irq, __get_str(name)
`;

function event(fullName: string, text = FORMAT): ListedEvent {
  const [system = "", name = ""] = fullName.split(":");
  return { system, name, formatText: () => text };
}

const EVENTS = ["sched:sched_waking", "irq:irq_handler_entry", "sched:sched_switch"].map((name) =>
  event(name),
);
const PLAIN: ListOptions = { isVerbose: false, isJson: false, isUnrendered: false };

function textOf(events: readonly ListedEvent[], options: Partial<ListOptions> = {}): string {
  let text = "";
  writeListing(events, { ...PLAIN, ...options }, (piece) => {
    text += piece;
  });
  return text;
}

describe("selectListed()", () => {
  const namesOf = (...patterns: string[]): string[] =>
    selectListed(EVENTS, patterns).map(({ name }) => name);

  test("gives all events without a pattern, sorted", () => {
    expect(namesOf()).toEqual(["irq_handler_entry", "sched_switch", "sched_waking"]);
  });

  test("knows names, globs in either part, globs of names, and words", () => {
    expect(namesOf("irq:irq_handler_entry")).toEqual(["irq_handler_entry"]);
    expect(namesOf("sched:*")).toEqual(["sched_switch", "sched_waking"]);
    expect(namesOf("sch*:*wak*")).toEqual(["sched_waking"]);
    expect(namesOf("*_switch")).toEqual(["sched_switch"]);
    expect(namesOf("handler")).toEqual(["irq_handler_entry"]);
    expect(() => namesOf("d:sched_w")).toThrow(NoEventError);
    expect(namesOf("irq:")).toEqual(["irq_handler_entry"]);
  });

  test("shows an event once, however many patterns mean it", () => {
    expect(namesOf("sched:*", "waking", "irq")).toEqual(namesOf());
  });

  test("names what was not found, and what may be meant", () => {
    expect(() => namesOf("sched:*", "sched:sched_swich")).toThrow(NoEventError);
    try {
      namesOf("sched:sched_swich");
    } catch (error) {
      expect((error as NoEventError).hint).toBe("did you mean sched:sched_switch?");
    }
    expect(() => namesOf("\x1b[2J")).toThrow('Cannot list "?[2J"');
  });

  test("a plain name matches as a glob would", () => {
    fc.assert(
      fc.property(fc.constantFrom(...EVENTS), (chosen) => {
        const full = `${chosen.system}:${chosen.name}`;
        expect(EVENTS.filter(listMatcher(full))).toEqual([chosen]);
        expect(listMatcher(chosen.name)(chosen)).toBe(true);
      }),
    );
  });
});

describe("writeListing()", () => {
  test("prints an event a line, with its fields", () => {
    expect(textOf(selectListed(EVENTS, ["sched", "irq"]))).toBe(
      "irq:irq_handler_entry  irq name\n" +
        "sched:sched_switch     irq name\n" +
        "sched:sched_waking     irq name\n",
    );
  });

  test("isVerbose shows fields with their places, and the print format", () => {
    const filtered = { ...event("irq:irq_handler_entry"), filter: "irq==3", alias: "handler" };
    expect(textOf([filtered], { isVerbose: true })).toBe(
      [
        "irq:irq_handler_entry  id 225",
        "  alias: handler",
        "  filter: irq==3",
        "  offset  size  signed  type               name",
        "       8     4  yes     int                irq",
        "      12     4  no      __data_loc char[]  name",
        "  common: common_type common_pid",
        '  print fmt: "irq=%d name=%s", REC->irq, __get_str(name)',
        "",
      ].join("\n"),
    );
  });

  test("isJson holds all of it", () => {
    const [line, ...rest] = textOf([event("irq:irq_handler_entry")], { isJson: true }).split("\n");
    expect(rest).toEqual([""]);
    expect(JSON.parse(line!)).toEqual({
      event: "irq:irq_handler_entry",
      id: 225,
      fields: [
        ["common_type", "unsigned short", 0, 2, false, true],
        ["common_pid", "int", 4, 4, true, true],
        ["irq", "int", 8, 4, true, false],
        ["name", "__data_loc char[]", 12, 4, false, false],
      ].map(([name, type, offset, size, signed, common]) => ({
        ...{ name, type, offset, size, signed, common },
      })),
      print_fmt: '"irq=%d name=%s", REC->irq, __get_str(name)',
      rendered: true,
    });
  });

  const broken = event("x:broken", FORMAT.replace("REC->irq, ", "what_is(REC->irq), "));

  test("isUnrendered shows those alone that are printed as fields, with the reason", () => {
    expect(textOf([...EVENTS, broken], { isUnrendered: true })).toMatch(
      /^x:broken +unknown function "what_is"\n$/,
    );
    const json = JSON.parse(textOf([broken], { isUnrendered: true, isJson: true }));
    expect(json).toMatchObject({ rendered: false, reason: 'unknown function "what_is"' });
    expect(textOf([broken], { isVerbose: true })).toContain(
      "  printed as fields: unknown function",
    );
  });

  test("a format that cannot be read is told beside the name", () => {
    const unreadable: ListedEvent = {
      system: "x",
      name: "y",
      formatText: () => {
        throw new FormatError("text is too long");
      },
    };
    for (const options of [{}, { isVerbose: true }, { isJson: true }, { isUnrendered: true }]) {
      expect(textOf([unreadable], options)).toContain("Cannot parse event format: text is too lon");
    }
  });

  test("prints nothing but ASCII, whatever a guest calls its events", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (name, text) => {
        const hostile = [event(`a:${name}`, text), event("b:c", FORMAT.replaceAll("irq", text))];
        for (const options of [{}, { isVerbose: true }, { isJson: true }, { isUnrendered: true }]) {
          expect(textOf(hostile, options)).toMatch(/^[ -~\n]*$/);
        }
      }),
      { numRuns: 300 },
    );
  });
});
