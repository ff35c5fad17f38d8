/** "Did you mean": near names first, none for what is like nothing. */
import { expect, test } from "bun:test";
import { similarity, similarNames } from "../../../shared/text/similar.ts";

test("similarity() ranks the same name, typos, and names that hold each other", () => {
  expect(similarity("irq", "irq")).toBe(0);
  expect(similarity("alais", "alias")).toBe(2);
  expect(similarity("sched_swich", "sched_switch")).toBe(1);
  expect(similarity("switch", "sched_switch")).toBe(3);
  expect(similarity("switch", "kvm_exit")).toBe(4);
});

test("similarNames() gives the nearest first, and nothing for what is too short to tell", () => {
  const names = ["prev_pid", "next_pid", "prev_prio", "key"];
  expect(similarNames("prev_pd", names)).toEqual(["prev_pid"]);
  expect(similarNames("pid", names)).toEqual(["prev_pid", "next_pid"]);
  expect(similarNames("zz", names)).toEqual([]);
  expect(similarNames("", names)).toEqual([]);
  expect(similarNames("nothing_like_it", names)).toEqual([]);
  expect(similarNames("pid", names, 1)).toHaveLength(1);
});
