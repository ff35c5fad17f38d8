/** Events of tracefs, looked up in a small copy of its directories. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tracefs, TracefsError, UnknownEventError } from "../../../shared/tracefs/tracefs.ts";

const root = mkdtempSync(join(tmpdir(), "vmspan-tracefs-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function addEvent(system: string, name: string, id: number): void {
  const directory = join(root, "events", system, name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "id"), `${id}\n`);
  writeFileSync(
    join(directory, "format"),
    `name: ${name}\nID: ${id}\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\tfield:int irq;\toffset:8;\tsize:4;\tsigned:1;\n\nprint fmt: "irq=%d", REC->irq\n`,
  );
}

addEvent("irq", "irq_handler_entry", 225);
addEvent("irq", "irq_handler_exit", 224);
addEvent("sched", "sched_wakeup", 374);
addEvent("ftrace", "print", 5);
writeFileSync(join(root, "events", "enable"), "0\n");

describe("Tracefs", () => {
  const tracefs = Tracefs.open(root);

  test("format() and eventId() read an event", () => {
    expect(tracefs.format("irq", "irq_handler_entry")).toMatchObject({ system: "irq", id: 225 });
    expect(tracefs.eventId("sched", "sched_wakeup")).toBe(374);
  });

  test("find() takes plain names, wildcards and bare names", () => {
    expect(tracefs.find("irq:irq_handler_entry")).toEqual([
      { system: "irq", name: "irq_handler_entry" },
    ]);
    expect(tracefs.find("irq:*").map((e) => e.name)).toEqual([
      "irq_handler_entry",
      "irq_handler_exit",
    ]);
    expect(tracefs.find("sched_wakeup")).toEqual([{ system: "sched", name: "sched_wakeup" }]);
    expect(tracefs.find("*:*").some((e) => e.system === "ftrace")).toBe(false);
  });

  test("an unknown event is an error that names what was likely meant", () => {
    expect(() => tracefs.find("irq:irq_handler_enrty")).toThrow(UnknownEventError);
    try {
      tracefs.format("nosuch", "irq_handler_entry");
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(UnknownEventError);
      expect((error as UnknownEventError).similar[0]).toBe("irq:irq_handler_entry");
      expect((error as UnknownEventError).hint).toContain("did you mean irq:irq_handler_entry");
    }
  });

  test("a name never becomes a path outside tracefs", () => {
    for (const name of ["../../../etc/passwd", "..", "", "a/b", "\0"]) {
      expect(() => tracefs.formatText("irq", name)).toThrow(UnknownEventError);
      expect(() => tracefs.eventId(name, "irq_handler_entry")).toThrow(UnknownEventError);
      expect(tracefs.eventsOf(name)).toEqual([]);
    }
  });

  test("open() says how to mount tracefs when it is not there", () => {
    try {
      Tracefs.open(join(root, "nothing"));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(TracefsError);
      expect((error as TracefsError).hint).toContain("mount -t tracefs");
    }
  });
});
