/** Reading agent-host's tables back. */
import { expect, test } from "bun:test";
import { latencyRows, ledgerLines } from "./host_report.ts";

test("latencyRows() reads rows and passes over headings", () => {
  const lines = [
    "          start => end                  calls      total(kcyc)    min(kcyc)    p50(kcyc)",
    "---------------    ----------------- -------- ---------------- ------------ ------------",
    "kvm_msi_set_irq => irq_handler_entry     5641        40951.486        4.971        5.736" +
      "        7.039        7.938     7631.115",
  ];
  expect(latencyRows(lines)).toEqual([
    {
      start: "kvm_msi_set_irq",
      end: "irq_handler_entry",
      calls: 5641,
      total: 40951.486,
      min: 4.971,
      p50: 5.736,
      p95: 7.039,
      p99: 7.938,
      max: 7631.115,
    },
  ]);
});

test("ledgerLines() reads the counts", () => {
  const line = "guest: produced 12 = delivered 10 + lost by the kernel 1 + dropped 1";
  expect(ledgerLines(["", line])).toEqual([
    { produced: 12, delivered: 10, lostKernel: 1, dropped: 1 },
  ]);
});
