/** Reading agent-host's final tables back. */
import { expect, test } from "bun:test";
import { eventsOf, parseHostReport } from "./host_report.ts";

test("parseHostReport() reads latencies, bounds and the ledger", () => {
  const report = parseHostReport([
    "Connected to 127.0.0.1:9900",
    "          start => end                  calls      total(kcyc)    min(kcyc)    p50(kcyc)",
    "---------------    ----------------- -------- ---------------- ------------ ------------",
    "kvm_msi_set_irq => irq_handler_entry     5641        40951.486        4.971        5.736" +
      "        7.039        7.938     7631.115 *",
    "clock bound: 0.412 us (host => guest 1: KVM debugfs offset, fitted perf clock)",
    "clock bound: 1.112 kcyc, 0.413 us (host => guest 2: ping)",
    "WARNING: a => b: 3 ends are stamped before their start by more than the clock bound",
    "machine  cpu     produced    delivered  kernel lost      dropped  where",
    "guest 1    0         6000         5641            0          359  slow client 359",
    "host       1            ?         5012            0            0",
    "ledger: balances: 6000 produced = 5641 delivered + 0 lost by the kernel + 359 dropped",
  ]);
  expect(report).toEqual({
    latencies: [
      {
        start: "kvm_msi_set_irq",
        end: "irq_handler_entry",
        calls: 5641,
        min: 4.971,
        max: 7631.115,
      },
    ],
    clockBoundsUs: [0.412, 0.413],
    violations: 3,
    ledger: [
      {
        machine: "guest 1",
        cpu: 0,
        produced: 6000,
        delivered: 5641,
        lostKernel: 0,
        dropped: 359,
      },
      {
        machine: "host",
        cpu: 1,
        produced: Number.NaN,
        delivered: 5012,
        lostKernel: 0,
        dropped: 0,
      },
    ],
    verdict: "balances: 6000 produced = 5641 delivered + 0 lost by the kernel + 359 dropped",
  });
  expect(eventsOf(report, "guest 1")).toBe(6000);
});
