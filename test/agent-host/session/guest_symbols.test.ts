/** What a host asks a guest about addresses, what it makes of answers, and how long it waits. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import {
  ANSWER_MS_MAX,
  GuestSymbols,
  NAMES_MS_MAX,
  type SymbolNeeds,
} from "../../../agent-host/session/guest_symbols.ts";
import {
  type CodeMapping,
  formatCodeMappings,
  PATH_BYTES_MAX,
} from "../../../shared/symbol/process_maps.ts";
import { SymbolPieceWriter } from "../../../shared/symbol/symbol_pieces.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import type { SymbolRequest, Symbols } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { perNight } from "../../nightly.ts";
import { lookupOf, SAME_TIME } from "../analyze/fixtures.ts";
import { fullPool } from "../analyze/pools.ts";
import { common, raw, record, u32, u64 } from "../analyze/record_bytes.ts";

const NEEDS: SymbolNeeds = {
  kernel: true,
  users: true,
  isTwoWay: true,
  isKernelComing: false,
  isFile: false,
};
const LAYOUT = sampleLayout((1 << 1) | (1 << 2) | (1 << 5) | (1 << 10), false);
const PID = 4711;
const LIBC: CodeMapping = {
  start: 0x7f0000000000,
  end: 0x7f0000100000,
  fileOffset: 0x28000,
  file: "fe:01 131612",
  path: "/lib/libc.so.6",
  isDeleted: false,
};

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function answer(id: number, parts: Partial<Symbols>): Symbols {
  const none = { kernel: new Uint8Array(0), kernelEnd: false, maps: [], functions: [], end: false };
  return { request: undefined, ...none, ...parts, id };
}

function kernelPiece(): Uint8Array {
  const writer = new SymbolPieceWriter();
  writer.add(-0x7f000000, 0x54, "", bytes("_text"), 0, 5);
  writer.add(-0x7effff00, 0x54, "", bytes("end"), 0, 3);
  return writer.take();
}

/** A guest's symbols with the requests that were sent, and a clock of its own. */
class Asked {
  readonly findings: string[] = [];
  readonly requests: { id: number; request: SymbolRequest }[] = [];
  readonly symbols = new GuestSymbols("guest 1", (text) => this.findings.push(text));
  #nowMs = performance.now();

  constructor(needs: Partial<SymbolNeeds> = {}) {
    this.symbols.begin({ ...NEEDS, ...needs }, false);
  }

  tick(afterMs = 0): void {
    this.#nowMs += afterMs;
    this.symbols.tick(this.#nowMs, (question) => {
      new FrameWriter().encode(FrameType.SYMBOLS, question, 0);
      this.requests.push({ id: question.id, request: question.request! });
    });
  }

  get last(): { id: number; request: SymbolRequest } {
    return this.requests.at(-1)!;
  }

  reply(parts: Partial<Symbols>): void {
    this.symbols.onSymbols(answer(this.last.id, parts), this.#nowMs);
  }

  /** An event of PID at a time, with these frames of user space. */
  event(time: number, addresses: readonly number[]): void {
    const pool = fullPool(1);
    const chunk = pool.acquire(1, 0, 0)!;
    const user = [...u32(-512 >>> 0), ...u32(0xffffffff)];
    const chain = [...u64(addresses.length + 1), ...user, ...addresses.flatMap(u64)];
    const tasks = [...u32(PID), ...u32(PID)];
    const sample = record(9, [...tasks, ...u64(time), ...chain, ...raw(common(7, PID))]);
    chunk.bytes.set(sample);
    new RingDecoder(lookupOf(7), LAYOUT).decodeSpan(chunk, 0, sample.length, SAME_TIME);
    this.symbols.run(chunk, 0, chunk.count);
    pool.release(chunk);
  }

  user(address: number): string | undefined {
    const [lo, hi] = [address % 2 ** 32, Math.floor(address / 2 ** 32)];
    const hit = this.symbols.user(PID, lo, hi, 100);
    return hit && `${hit.name}+${hit.offset} (${hit.module})`;
  }
}

const MAPS = { pid: PID, text: bytes(formatCodeMappings([LIBC], 1000)) };

describe("GuestSymbols and the guest's kernel", () => {
  test("all events wait for the kernel's functions, which are asked for once", () => {
    const guest = new Asked();
    expect(guest.symbols.heldFromCycles).toBe(-Infinity);
    guest.tick();
    expect(guest.last).toEqual({ id: 1, request: { kernel: true, mapsOf: [], code: [] } });
    guest.reply({ kernel: kernelPiece() });
    expect(guest.symbols.isKernelDue).toBe(true);
    expect(guest.symbols.lookup(0x81000010, 0xffffffff)).toBeUndefined();
    guest.reply({ kernelEnd: true });
    guest.reply({ end: true });
    expect(guest.symbols.heldFromCycles).toBe(Infinity);
    expect(guest.symbols.lookup(0x81000010, 0xffffffff)).toMatchObject({
      name: "_text",
      offset: 16,
    });
    guest.tick();
    expect(guest.requests.length).toBe(1);
    expect(guest.findings).toEqual([]);
  });

  test("nothing is asked, and nothing waits, when nothing prints addresses", () => {
    const guest = new Asked({ kernel: false, users: false });
    guest.event(5, [LIBC.start + 1]);
    guest.tick();
    expect(guest.requests).toEqual([]);
    expect(guest.symbols.heldFromCycles).toBe(Infinity);
  });

  test("a one-way guest's functions come unasked, or are not waited for", () => {
    const silent = new Asked({ isTwoWay: false });
    expect(silent.symbols.heldFromCycles).toBe(Infinity);
    const guest = new Asked({ isTwoWay: false, isKernelComing: true });
    guest.tick();
    expect(guest.requests).toEqual([]);
    expect(guest.symbols.heldFromCycles).toBe(-Infinity);
    guest.symbols.onSymbols(answer(0, { kernel: kernelPiece(), kernelEnd: true }));
    expect(guest.symbols.heldFromCycles).toBe(Infinity);
    expect(guest.symbols.kernel(0x81000001, 0xffffffff)?.name).toBe("_text");
  });

  test("a kernel that hides its addresses is told of, with what to do", () => {
    const guest = new Asked();
    guest.tick();
    guest.reply({ kernelEnd: true });
    expect(guest.findings.join("\n")).toContain("HINT: in the guest");
    expect(guest.symbols.heldFromCycles).toBe(Infinity);
  });

  test("an answer that does not come is waited for so long, a recording's to its end", () => {
    const guest = new Asked();
    guest.tick();
    guest.tick(ANSWER_MS_MAX - 1);
    expect(guest.symbols.isWaiting).toBe(true);
    guest.tick(2);
    expect(guest.symbols.isWaiting).toBe(false);
    expect(guest.findings).toEqual(["guest 1 does not name the addresses of its kernel"]);
    const file = new Asked({ isTwoWay: false, isKernelComing: true, isFile: true });
    file.tick(100 * ANSWER_MS_MAX);
    expect(file.symbols.isWaiting).toBe(true);
    file.symbols.giveUp();
    expect(file.symbols.isWaiting).toBe(false);
  });

  test("after a break what is known stays, and what was asked is asked again", () => {
    const guest = new Asked();
    guest.tick();
    guest.symbols.begin(NEEDS, true);
    guest.tick();
    expect(guest.requests.map(({ id }) => id)).toEqual([1, 2]);
    guest.reply({ kernel: kernelPiece(), kernelEnd: true });
    guest.reply({ end: true });
    guest.symbols.begin(NEEDS, true);
    guest.tick();
    expect(guest.requests.length).toBe(2);
    expect(guest.symbols.lookup(0x81000010, 0xffffffff)?.name).toBe("_text");
  });
});

describe("GuestSymbols and the guest's processes", () => {
  test("mappings are asked first, then functions; the event waits from its time on", () => {
    const guest = new Asked({ kernel: false });
    const address = LIBC.start + 0x100;
    guest.event(50, [address]);
    guest.event(60, [address]);
    expect(guest.symbols.heldFromCycles).toBe(50);
    guest.tick();
    expect(guest.last.request).toEqual({ kernel: false, mapsOf: [PID], code: [] });
    guest.reply({ maps: [MAPS] });
    guest.reply({ end: true });
    expect(guest.symbols.heldFromCycles).toBe(50);
    guest.tick();
    expect(guest.last.request.mapsOf).toEqual([]);
    expect(guest.last.request.code).toEqual([
      {
        pid: PID,
        start: BigInt(LIBC.start),
        end: BigInt(LIBC.end),
        fileOffset: BigInt(LIBC.fileOffset),
        file: LIBC.file,
        path: bytes(LIBC.path),
        addresses: [BigInt(address)],
      },
    ]);
    const name = { code: 0, address: 0, name: bytes("write"), offset: 23n };
    guest.reply({ functions: [{ ...name, module: new Uint8Array(0) }] });
    guest.reply({ end: true });
    expect(guest.symbols.heldFromCycles).toBe(Infinity);
    expect(guest.user(address)).toBe("write+23 (/lib/libc.so.6)");
    // Known now: another event with that frame asks nothing.
    guest.event(70, [address]);
    guest.tick();
    expect(guest.requests.length).toBe(2);
  });

  test("a process that has ended, and an address without a name, wait no longer", () => {
    const guest = new Asked({ kernel: false });
    guest.event(50, [LIBC.start + 1]);
    guest.tick();
    guest.reply({ maps: [{ pid: PID }], end: true });
    expect(guest.symbols.isWaiting).toBe(false);
    expect(guest.user(LIBC.start + 1)).toBeUndefined();
    const other = new Asked({ kernel: false });
    other.symbols.users.map(PID, LIBC, 10);
    other.event(50, [LIBC.start + 1]);
    other.tick();
    other.reply({ end: true });
    expect(other.symbols.isWaiting).toBe(false);
    expect(other.user(LIBC.start + 1)).toBe("+0 (/lib/libc.so.6)");
  });

  test("a guest that stops answering holds nobody up, then or later", () => {
    const guest = new Asked({ kernel: false });
    guest.event(50, [LIBC.start + 1]);
    guest.tick();
    guest.tick(ANSWER_MS_MAX + 1);
    expect(guest.symbols.isWaiting).toBe(false);
    guest.event(60, [LIBC.start + 2]);
    expect(guest.symbols.isWaiting).toBe(false);
    guest.tick();
    expect(guest.requests.length).toBe(1);
  });

  test("an answer to another question is refused", () => {
    const guest = new Asked({ kernel: false });
    guest.event(50, [LIBC.start + 1]);
    guest.tick();
    guest.symbols.onSymbols(answer(7, { maps: [MAPS], end: true }));
    expect([guest.symbols.refused, guest.symbols.isWaiting]).toEqual([1, true]);
  });

  test("what no kernel can have mapped is not asked about", () => {
    const guest = new Asked({ kernel: false });
    guest.event(50, [LIBC.start + 1]);
    guest.tick();
    const digits = "f".repeat(300);
    const lines = [`1-${"f".repeat(24)}`, `1-${digits}`, `${digits}-${digits}`].map(
      (range) => `${range} r-xp 00000000 fe:01 1 /x\n`,
    );
    guest.reply({ maps: [{ pid: PID, text: bytes(lines.join("")) }], end: true });
    guest.tick();
    expect(guest.symbols.isWaiting).toBe(false);
    expect(guest.requests).toHaveLength(1);
  });

  test("64 files whose names are longer than a path are asked about in one frame", () => {
    const guest = new Asked({ kernel: false });
    const starts = Array.from({ length: 64 }, (_, i) => 0x10000 * (i + 1));
    guest.event(50, [1]);
    guest.tick();
    const lines = starts.map((start) => {
      const range = `${start.toString(16)}-${(start + 4096).toString(16)}`;
      return `${range} r-xp 0 fe:01 ${start} /${"x".repeat(2 * PATH_BYTES_MAX)}\n`;
    });
    guest.reply({ maps: [{ pid: PID, text: bytes(lines.join("")) }], end: true });
    for (const start of starts) guest.event(60, [start + 8]);
    guest.tick();
    expect(guest.last.request.code).toHaveLength(64);
    for (const { path } of guest.last.request.code) expect(path.length).toBe(PATH_BYTES_MAX);
  });

  test("mappings that were not asked for are refused, and those that do not come not waited for", () => {
    const guest = new Asked({ kernel: false });
    guest.event(50, [LIBC.start + 1]);
    guest.tick();
    guest.reply({ maps: [{ ...MAPS, pid: PID + 1 }] });
    expect([guest.symbols.refused, guest.symbols.isWaiting]).toEqual([1, true]);
    guest.reply({ end: true });
    expect(guest.symbols.isWaiting).toBe(false);
  });

  for (const kernel of [true, false]) {
    test(`an answer ${kernel ? "about the kernel " : ""}without end holds up nobody for longer than ${NAMES_MS_MAX} ms`, () => {
      const guest = new Asked({ kernel });
      guest.event(50, [LIBC.start + 1]);
      const STEP_MS = ANSWER_MS_MAX / 2;
      guest.tick();
      let waitedMs = 0;
      for (; guest.symbols.isWaiting && waitedMs < 2 * NAMES_MS_MAX; waitedMs += STEP_MS) {
        guest.reply({});
        guest.tick(STEP_MS);
      }
      expect(waitedMs).toBeGreaterThan(NAMES_MS_MAX - STEP_MS);
      expect(guest.symbols.isWaiting).toBe(false);
      // Nor does it get another chance by beginning anew.
      guest.symbols.begin({ ...NEEDS, kernel }, false);
      guest.event(60, [LIBC.start + 2]);
      expect(guest.symbols.isWaiting).toBe(false);
    });
  }

  test("what is found of a guest is told once, however often it begins anew", () => {
    const guest = new Asked();
    for (let i = 0; i < 20; i++) {
      guest.tick();
      guest.reply(i % 2 === 0 ? { end: true } : { kernelEnd: true, end: true });
      guest.symbols.begin(NEEDS, false);
    }
    expect(guest.findings).toHaveLength(2);
  });

  test("a kernel of which nothing has come when the answer ends is not waited for", () => {
    const guest = new Asked();
    guest.tick();
    guest.reply({ end: true });
    expect(guest.symbols.isWaiting).toBe(false);
    expect(guest.findings).toEqual(["guest 1 does not name the addresses of its kernel"]);
  });

  const runs = perNight(500, 20_000);
  test(`any answers leave it sound (${runs} dialogues)`, () => {
    const any = fc.record({
      id: fc.nat(3),
      kernel: fc.uint8Array({ maxLength: 40 }),
      kernelEnd: fc.boolean(),
      maps: fc.array(
        fc.record({ pid: fc.constantFrom(PID, 1), text: fc.uint8Array({ maxLength: 80 }) }),
        { maxLength: 3 },
      ),
      functions: fc.array(
        fc.record({
          code: fc.nat(3),
          address: fc.nat(3),
          name: fc.uint8Array({ maxLength: 20 }),
          offset: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          module: fc.uint8Array({ maxLength: 9 }),
        }),
        { maxLength: 4 },
      ),
      end: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 6 }), (answers) => {
        const guest = new Asked();
        guest.symbols.users.map(PID, LIBC, 10);
        for (const [i, { id, ...parts }] of answers.entries()) {
          guest.event(50 + i, [LIBC.start + i, 5]);
          guest.tick();
          guest.symbols.onSymbols(answer(id, parts));
          guest.user(LIBC.start + i);
        }
        guest.tick(ANSWER_MS_MAX + 1);
        guest.tick(ANSWER_MS_MAX + 1);
        expect(guest.symbols.heldFromCycles).toBe(Infinity);
      }),
      { numRuns: runs },
    );
  });
});
