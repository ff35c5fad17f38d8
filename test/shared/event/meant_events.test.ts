/** What a word without a system may mean. */
import { expect, test } from "bun:test";
import { meantEvents } from "../../../shared/event/meant_events.ts";

const EVENTS = [
  ["irq", "irq_handler_entry"],
  ["sched", "sched_kthread_work_execute_end"],
  ["sched", "sched_prepare_exec"],
  ["sched", "sched_process_exec"],
  ["sched", "sched_switch"],
  ["syscalls", "sys_enter_execve"],
  ["writeback", "writeback_exec"],
].map(([system, name]) => ({ system: system!, name: name! }));

test.each([
  ["sched_process_exec", ["sched:sched_process_exec"]],
  ["exec", ["writeback:writeback_exec", "sched:sched_prepare_exec", "sched:sched_process_exec"]],
  ["sched_swich", ["sched:sched_switch"]],
  ["handler_e", ["irq:irq_handler_entry"]],
  ["irq", ["irq:*"]],
  ["irqq", ["irq:*"]],
  ["nosuch", []],
  ["e", []],
  ["", []],
])("meantEvents() of %j is %j", (word, meant) => {
  expect(meantEvents(word, EVENTS)).toEqual(meant);
});
