// The ledger: sums, verdicts, and its text.
import { describe, expect, test } from "bun:test";
import { type LedgerRow, makeLedger } from "../../../agent-host/report/ledger.ts";
import { writeLedger } from "../../../agent-host/report/ledger_text.ts";
import { textOf } from "./lines.ts";

const HOST: LedgerRow = {
  machine: "host",
  cpu: 0,
  produced: 5012,
  delivered: 5012,
  lostKernel: 0,
  drops: [],
  gapBytes: 0,
};
const GUEST: LedgerRow = {
  machine: "guest 1",
  cpu: 3,
  produced: 6000,
  delivered: 5600,
  lostKernel: 41,
  drops: [
    { place: "slow client", events: 300 },
    { place: "shutdown", events: 59 },
    { place: "nothing here", events: 0 },
  ],
  gapBytes: 0,
};

const render = (...rows: LedgerRow[]): string =>
  textOf((out) => writeLedger(out, makeLedger(rows)));

describe("writeLedger()", () => {
  test("prints where each event went, and that the ledger balances", () => {
    expect(render(HOST, GUEST)).toBe(
      `machine  cpu     produced    delivered  kernel lost      dropped  where
------- ---- ------------ ------------ ------------ ------------  -----
host       0         5012         5012            0            0
guest 1    3         6000         5600           41          359  slow client 300, shutdown 59
ledger: balances: 11012 produced = 10612 delivered + 41 lost by the kernel + 359 dropped
`,
    );
  });

  test("names what is unaccounted for", () => {
    const lines = render(HOST, { ...GUEST, produced: 6010 }).split("\n");
    expect(lines.slice(-3, -1)).toEqual([
      "ledger: does NOT balance by 10 events: 11022 produced, 10612 delivered + 41 lost by the " +
        "kernel + 359 dropped",
      "ledger: guest 1 CPU 3: 10 events are unaccounted for",
    ]);
  });

  test("names what came without having been produced", () => {
    const lines = render({ ...GUEST, produced: 5990 }).split("\n");
    expect(lines.at(-2)).toBe("ledger: guest 1 CPU 3: 10 events more than were produced");
  });

  test("two errors in opposite directions do not balance each other", () => {
    const ledger = makeLedger([
      { ...HOST, produced: 5013 },
      { ...HOST, cpu: 1, produced: 5011 },
    ]);
    expect(ledger.verdict.state).toBe("unbalanced");
    expect(ledger.verdict.unaccounted.map(({ events }) => events)).toEqual([1, -1]);
  });

  test("cannot be checked when a machine did not tell its totals", () => {
    const lines = render(HOST, { ...GUEST, produced: undefined }).split("\n");
    expect(lines[3]).toStartWith("guest 1    3            ?         5600");
    expect(lines.at(-2)).toStartWith(
      "ledger: cannot be checked, not every machine told its totals",
    );
  });

  test("does not balance when bytes are missing and no totals are known", () => {
    const lines = render({ ...GUEST, produced: undefined, gapBytes: 4096 }).split("\n");
    expect(lines[2]).toEndWith("shutdown 59, 4096 bytes never came");
    expect(lines.slice(-3, -1)).toEqual([
      "ledger: does NOT balance: 6000 produced, 5600 delivered + 41 lost by the kernel + " +
        "359 dropped",
      "ledger: guest 1 CPU 3: 4096 bytes of its ring never came",
    ]);
  });

  test("tells what is known of a stream that ended without a goodbye", () => {
    const first = { ...GUEST, produced: undefined, stream: "1", endPosition: 76800 };
    const ended = [
      { machine: "guest 1", stream: "1", completeNs: 1_681_278_446_370_747_999n },
      { machine: "guest 2", completeNs: undefined },
    ];
    const ledger = makeLedger([first, { ...GUEST, stream: "2" }], ended);
    const lines = textOf((out) => writeLedger(out, ledger)).split("\n");
    expect(lines[2]).toStartWith("guest 1 #1    3            ?         5600");
    expect(lines[2]).toEndWith("shutdown 59, unknown from byte 76800 on");
    expect(lines[3]).toStartWith("guest 1 #2    3         6000         5600");
    expect(lines[4]).toStartWith("ledger: cannot be checked, not every machine told its totals: ");
    expect(lines[5]).toMatch(
      /^ledger: guest 1 #1 ended without a goodbye: all that it recorded before 2023-04-1\d \d\d:\d\d:26\.370747 has come; what it recorded after that, and lost after its last record, is unknown$/,
    );
    expect(lines[6]).toBe(
      "ledger: guest 2 ended without a goodbye: what it recorded or lost after its last record " +
        "that came is unknown",
    );
  });

  test("escapes what a guest calls its places", () => {
    const text = render({
      ...GUEST,
      machine: "g\x1b[2J",
      drops: [{ place: "\x1b]0;x\x07", events: 1 }],
    });
    expect(text.replaceAll("\n", "")).toMatch(/^[ -~]*$/);
  });
});
