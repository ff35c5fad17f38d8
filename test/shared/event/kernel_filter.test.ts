/** The kernel's words about a filter, and ours about one that neither of us takes. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  describeRefusals,
  examineRefusal,
  FilterError,
  USER_FILTER_CHARS_MAX,
} from "../../../shared/event/filter_error.ts";
import {
  askKernel,
  KERNEL_FILTER_BYTES_MAX,
  parseKernelReason,
} from "../../../shared/event/kernel_filter.ts";
import { resolveEvents } from "../../../shared/event/resolve.ts";
import { parseEventSpecs, SPEC_BYTES_MAX } from "../../../shared/event/spec.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { NO_TRACING, openEvents } from "./kernel.ts";

describe("parseKernelReason()", () => {
  test("reads the reason and the caret's place", () => {
    const text = "prev_pid+1==2\n         ^\nparse_error: Invalid operator\n";
    expect(parseKernelReason(text)).toEqual({ reason: "Invalid operator", position: 9 });
    const atStart = "x\n^\nparse_error: Field not found\n";
    expect(parseKernelReason(atStart)).toEqual({ reason: "Field not found", position: 0 });
  });

  test("knows what is none", () => {
    for (const text of ["none\n", "prev_pid==1\n", "", "\n^\n", "^\nparse_error: x\n"]) {
      expect(parseKernelReason(text)).toBeUndefined();
    }
  });
});

describe.skipIf(NO_TRACING !== "")("askKernel()", () => {
  // An event that nobody else's test asks about at the same time.
  const directory = (): string => `${Tracefs.open().root}/events/sched/sched_pi_setprio`;

  test("gets the kernel's reason, and leaves the filter file as it was", () => {
    expect(askKernel(directory(), "oldprio==1 && nofield==1")).toEqual({
      reason: "Field not found",
      position: expect.any(Number) as unknown as number,
    });
    expect(readFileSync(`${directory()}/filter`, "latin1")).toBe("none\n");
  });

  test("a filter that is taken after all has no reason, and is taken back", () => {
    expect(askKernel(directory(), "oldprio==1")).toBeUndefined();
    expect(readFileSync(`${directory()}/filter`, "latin1")).toBe("none\n");
  });

  test("says by itself that a filter is longer than a page", () => {
    const filter = "x".repeat(KERNEL_FILTER_BYTES_MAX + 1);
    expect(askKernel("/nowhere", filter)?.reason).toBe("longer than 4095 bytes");
    expect(askKernel("/nowhere", "x")).toBeUndefined();
  });
});

describe.skipIf(NO_TRACING !== "")("refused filters", () => {
  const resolved = (filter: string) =>
    resolveEvents(parseEventSpecs(`sched:sched_switch/${filter}/`), Tracefs.open())[0]!;

  test("examineRefusal() takes what is C, and refuses the rest with both reasons", () => {
    expect(examineRefusal(resolved("(prev_pid+1)==2"))).toMatchObject({
      filter: "(prev_pid+1)==2",
      kernel: { reason: expect.any(String) as unknown as string },
    });
    for (const [filter, why] of [
      ["nofield==1", 'unknown variable "nofield"'],
      ["prev_pid=1", "a filter assigns nothing"],
      ["prev_pid++", "a filter assigns nothing"],
      ["prev_comm", "the value is text"],
      ["prev_pid==1 &&", "expected a value"],
    ] as const) {
      let thrown: unknown;
      try {
        examineRefusal(resolved(filter));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(FilterError);
      expect((thrown as FilterError).message).toMatch(
        /^Cannot set filter ".*" of sched:sched_switch: the kernel refuses it.*, and as a C/,
      );
      expect((thrown as FilterError).message).toContain(why);
    }
  });

  test("a filter of a million characters is refused before it is parsed", () => {
    const filter = "prev_pid==1||".repeat(Math.floor(SPEC_BYTES_MAX / 14));
    expect(() => examineRefusal(resolved(`${filter}prev_pid==2`))).toThrow(
      `characters, wanted at most ${USER_FILTER_CHARS_MAX}`,
    );
  });

  test("a set names them, runs their events unfiltered, and keeps the filters of the others", () => {
    const set = openEvents(["sched:sched_switch/prev_pid+1==2/,sched:sched_wakeup/pid==1/"]);
    const [first, second] = set.events;
    expect(set.kernelFilter(first!)).toBe("");
    expect(set.refusal(first!)).toMatchObject({ filter: "prev_pid+1==2" });
    expect(set.kernelFilter(second!)).toBe("pid==1");
    expect(set.refusal(second!)).toBeUndefined();
    expect(set.refusedFilters).toHaveLength(1);
    set.close();
  });

  test("describeRefusals() tells each filter once, with a few of its events", () => {
    const refused = ["sched_switch", "sched_wakeup", "sched_waking", "sched_process_exit"].map(
      (name) => ({
        event: { ...resolved("common_pid+1==2"), name },
        filter: "common_pid+1==2",
        kernel: { reason: "Invalid operator", position: 10 },
      }),
    );
    expect(describeRefusals(refused, "agent-host")).toEqual([
      "HINT: the kernel refuses the filter of sched:sched_switch, sched:sched_wakeup, " +
        "sched:sched_waking and 1 more (Invalid operator): agent-host runs it\n" +
        "  common_pid+1==2\n" +
        "            ^",
    ]);
  });
});
