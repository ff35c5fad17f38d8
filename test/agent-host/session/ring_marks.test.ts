/** How far a ring has been used up, by places noted and records released. */
import { describe, expect, test } from "bun:test";
import { MARKS_MAX, type RingMark, RingMarks } from "../../../agent-host/session/ring_marks.ts";

const mark = (records: number, position: number): RingMark => ({
  ...{ records, position, samples: records },
  ...{ lostEvents: 0, droppedEvents: 0, gapBytes: 0 },
});

describe("RingMarks", () => {
  test("reached() gives the furthest place whose records have been released", () => {
    const marks = new RingMarks();
    expect(marks.reached(1000)).toBeUndefined();
    marks.note(mark(120, 9600));
    marks.note(mark(150, 12000));
    expect(marks.reached(119)).toBeUndefined();
    expect(marks.reached(130)).toMatchObject({ position: 9600 });
    expect(marks.reached(149)).toMatchObject({ position: 9600 });
    expect(marks.reached(150)).toMatchObject({ position: 12000 });
  });

  test("note() takes places further on only, and a bounded number of them", () => {
    const marks = new RingMarks();
    marks.start(mark(0, 500));
    marks.note(mark(0, 400));
    expect(marks.reached(0)).toMatchObject({ position: 500 });
    for (let i = 1; i <= 10 * MARKS_MAX; i++) marks.note(mark(i, 500 + i));
    expect(marks.reached(1)).toMatchObject({ position: 501 });
    expect(marks.reached(10 * MARKS_MAX)).toMatchObject({ position: 500 + 10 * MARKS_MAX });
  });

  test("begin() forgets another stream's places, and has reached its own first", () => {
    const marks = new RingMarks();
    marks.note(mark(10, 800));
    marks.begin(10);
    expect(marks.reached(1e9)).toBeUndefined();
    marks.begin(10, 64);
    expect(marks.reached(10)).toMatchObject({ records: 10, position: 64, samples: 0 });
  });
});
