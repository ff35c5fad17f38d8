/** WASM key and filter programs against a plain BigInt reference, and cases by hand. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseExpr } from "../../../shared/expr/parser.ts";
import {
  compileFilterProgram,
  compileKeyProgram,
  compileRoleProgram,
} from "../../../shared/expr/program.ts";
import { type EventFormat, parseFormat } from "../../../shared/tracefs/format.ts";
import { perNight } from "../../nightly.ts";
import { randomExpr } from "./random_expr.ts";
import { fieldValues } from "./random_fields.ts";
import { FIELDS, FORMAT, makeRecord, RECORD_BYTES, runKey, runProgram } from "./record_fixture.ts";
import { type ReferenceEnvironment, reference } from "./reference.ts";

function environment(values: Readonly<Record<string, bigint>>): ReferenceEnvironment {
  const variables = new Map(
    FIELDS.map(([, name, , bytes, signed]) => {
      const cut = signed ? BigInt.asIntN : BigInt.asUintN;
      const value = cut(bytes * 8, values[name] ?? 0n);
      return [name, { value, isSigned: signed === 1 || bytes < 8 }] as const;
    }),
  );
  return { variables, undefinedCount: 0 };
}

describe("compileKeyProgram()", () => {
  test("computes the keys of the spec document", () => {
    const msi = kvmMsiSetIrq();
    const key = "(((address>>18)&1)?42:0) + ((address>>12)&0x3f)";
    const record = new Uint8Array(24);
    const view = new DataView(record.buffer);
    for (const [address, want] of [
      [0xfee41000n, 42n + 1n],
      [0xfee23000n, 0x23n],
      [0xfffffffffee41000n, 43n],
    ] as const) {
      view.setBigUint64(8, address, true);
      const program = compileKeyProgram(key, msi);
      expect(program.backend).toBe("wasm");
      expect(runProgram(program, record).key).toBe(want);
    }
    expect(runKey("83-b32+32", makeRecord({ b32: 38n })).key).toBe(77n);
  });

  test("both back ends equal the BigInt reference", () => {
    fc.assert(
      fc.property(randomExpr(false), fieldValues, ({ text }, values) => {
        const env = environment(values);
        const want = reference(parseExpr(text), env);
        const record = makeRecord(values);
        for (const backend of ["wasm", "js"] as const) {
          const got = runKey(text, record, { backend });
          expect(got.key).toBe(BigInt.asIntN(64, want.value));
          expect(got.undefinedCount).toBe(env.undefinedCount);
          expect(got.isSkipped).toBe(false);
        }
      }),
      { numRuns: perNight(1500, 100_000) },
    );
    console.log(`expressions equal to the BigInt reference: ${perNight(1500, 100_000)}, twice`);
  }, 600_000);

  test("operators bind as in C", () => {
    const record = makeRecord({ a8: 3n, b8: 5n, a16: 7n });
    for (const [source, want] of [
      ["1 + 2 * 3 - 4 / 2", 5],
      ["1 << 2 + 1", 8],
      ["7 & 3 == 3", 1],
      ["1 | 2 ^ 3 & 6", 1 | (2 ^ (3 & 6))],
      ["1 || 0 && 0", 1],
      ["0 ? 1 : 2 ? 3 : 4", 3],
      ["!0 + 1", 2],
      ["-a8 * b8", -15],
      ["~a8 & 0xff", 252],
      ["a8 < b8 == 1", 1],
      ["10 - 4 - 3", 3],
      ["100 / 10 / 5", 2],
      ["1, 2, 3", 3],
      ["(u8)300 + 1", 45],
      ["(s8)200", -56],
      ["sizeof(int) + sizeof a8 + sizeof(comm)", 21],
      ["'a' + '\\n' + '\\x41' + '\\0'", 172],
      ["0x10 + 010 + 0b11", 27],
      ["a8 ?: 9", 3],
      ["0 ?: 9", 9],
      ["ntohl(0x01020304) == 0x04030201", 1],
      ["ntohs(0x1122)", 0x2211],
      ["REC->a8 + a16", 10],
    ] as const) {
      expect([source, runKey(source, record).key]).toEqual([source, BigInt(want)]);
      expect(runKey(source, record, { backend: "js" }).key).toBe(BigInt(want));
    }
  });

  test("division by zero, INT64_MIN / -1 and wide shifts have results, and are counted", () => {
    for (const [source, want] of [
      ["5 / a8", 0n],
      ["5 % a8", 0n],
      ["b64 / -1", -(1n << 63n)],
      ["b64 % -1", 0n],
      ["b64 / b8", -(1n << 63n)],
      ["c64 / a8", 0n],
      ["1 << 64", 0n],
      ["1 << a16", 0n],
      ["b64 >> 64", -1n],
      ["c64 >> 64", 0n],
      ["1 << -1", 0n],
      ["b64 >> a64", -1n],
    ] as const) {
      const record = makeRecord({ b64: 1n << 63n, c64: 1n << 63n, a16: 64n, a64: 99n, b8: 255n });
      for (const backend of ["wasm", "js"] as const) {
        const got = runKey(source, record, { backend });
        expect([source, backend, got.key, got.undefinedCount]).toEqual([source, backend, want, 1]);
      }
    }
  });

  test("arrays, pointers and dynamic fields are read within the record", () => {
    const record = makeRecord({ a8: 2n, b8: 200n });
    for (const [source, want, outside] of [
      ["words[1]", 1001n, 0],
      ["words[a8]", 1002n, 0],
      ["*(words + 3)", 1003n, 0],
      ["*&words[a8]", 1002n, 0],
      ["words[a64 - 1]", 0xdeadbeefn, 0],
      ["words[c64 + 100]", 0n, 1],
      ["words[-100]", 0n, 1],
      ["words[1ULL << 62]", 1000n, 0],
      ["list[0] + list[2]", 4n, 0],
      ["list[a8]", 3n, 0],
      ["list[60000]", 0n, 1],
      ["((u8 *)words)[1]", 3n, 0],
      ["*(u16 *)&a32", 0xbeefn, 0],
      ["name[0]", 0x76n, 0],
      ["comm[1] == 'c'", 1n, 0],
    ] as const) {
      const filled = makeRecord({ a8: 2n, b8: 200n, a32: 0xdeadbeefn });
      filled.set(new Uint8Array(Uint32Array.of(0xdeadbeef).buffer), 44);
      for (const backend of ["wasm", "js"] as const) {
        const got = runKey(source, filled, { backend });
        expect([source, backend, got.key, got.outsideCount]).toEqual([
          source,
          backend,
          want,
          outside,
        ]);
      }
    }
    expect(runKey("words[0]", record, { rawBytes: 51 }).isSkipped).toBe(true);
  });

  test("a record that is too short is skipped and never read beyond its end", () => {
    const record = makeRecord({ a64: 7n });
    for (const backend of ["wasm", "js"] as const) {
      for (let rawBytes = 0; rawBytes <= record.length; rawBytes++) {
        const got = runKey("a64", record, { backend, rawBytes });
        expect(got.isSkipped).toBe(rawBytes < 32);
        expect(got.key).toBe(rawBytes < 32 ? BigInt.asIntN(64, 0xa5a5a5a5a5a5a5a5n) : 7n);
      }
    }
  });

  test("fields that are assigned to are copies", () => {
    const record = makeRecord({ a8: 255n, b32: 10n });
    for (const [source, want] of [
      ["a8++, a8", 0n],
      ["a8++", 255n],
      ["++a8", 0n],
      ["b32 = 5, b32 * 2", 10n],
      ["b32 += 5", 15n],
      ["b32 <<= 2, b32--, b32", 39n],
      ["a8 = 300", 44n],
      ["b32-- + b32", 19n],
      ["a8++, sizeof(a8) * 10 + sizeof b32", 14n],
      ["_cpu = 7, _cpu + 1", 8n],
    ] as const) {
      for (const backend of ["wasm", "js"] as const) {
        expect([source, runKey(source, record, { backend }).key]).toEqual([source, want]);
      }
    }
    expect(record[8]).toBe(255);
  });

  test("_cpu _vm _vcpu _pid _tid come from the context", () => {
    const record = makeRecord();
    const source = "((((_cpu*10 + _vm)*10 + _vcpu)*100000) + _pid)*100000 + _tid";
    for (const backend of ["wasm", "js"] as const) {
      const context = [5, 2, 7] as const;
      expect(runKey(source, record, { backend, context }).key).toBe(5272602726027n);
      const tasks = [111, 222] as const;
      expect(runKey(source, record, { backend, context, tasks }).key).toBe(5270011100222n);
    }
    expect(runKey("_vcpu", record).key).toBe(-1n);
  });

  test("a filter program marks the records that do not pass", () => {
    const record = makeRecord({ a8: 3n });
    for (const [source, passes] of [
      ["a8 == 3", true],
      ["a8 == 4", false],
      ["common_pid==26027 && a8 & 1", true],
      ["!(common_pid==26027) || a8 > 3", false],
      ['name~"virtio0-input*"', true],
      ['comm == "vcpu0" && name ~ "*.3"', true],
      ["comm != vcpu0", false],
    ] as const) {
      for (const backend of ["wasm", "js"] as const) {
        const program = compileFilterProgram(source, FORMAT, { backend });
        const { isSkipped, rejectedCount } = runProgram(program, record);
        expect([source, isSkipped]).toEqual([source, !passes]);
        expect(rejectedCount).toBe(passes ? 0 : 1);
      }
    }
  });

  test("refuses assignments, wherever they stand", () => {
    for (const source of ["a8 = 3", "a8++ > 2", "(a8 += 1) == 4 || name == x", "-(--a8)"]) {
      expect(() => compileFilterProgram(source, FORMAT)).toThrow("a filter assigns nothing");
    }
  });
});

describe("compileRoleProgram()", () => {
  test("stores the low byte, beside which nothing is touched", () => {
    const record = makeRecord({ a8: 3n });
    for (const backend of ["wasm", "js"] as const) {
      const program = compileRoleProgram("a8==3 ? 0x1fe : 1", FORMAT, { backend });
      expect(program.backend).toBe(backend);
      const { key } = runProgram(program, record);
      expect(BigInt.asUintN(64, key)).toBe(0xa5a5a5a5a5a5a5fen);
    }
  });
});

describe("placeOf", () => {
  const placeOf = (tid: number) => ({ vcpu: tid === 26027 ? 3 : -1, vm: 2 });

  test("says what _vcpu and _vm are, by the record's thread", () => {
    const record = makeRecord({});
    for (const [source, key] of [
      ["_vcpu", 3n],
      ["(_vm<<16)|_vcpu", 0x20003n],
      ['_vcpu + (comm == "vcpu0")', 4n],
    ] as const) {
      const program = compileKeyProgram(source, FORMAT, { placeOf });
      expect(program.backend).toBe("js");
      expect(runProgram(program, record, { context: [5, 9, 9] }).key).toBe(key);
    }
  });

  test("costs expressions nothing that do not ask for it", () => {
    expect(compileKeyProgram("a8+_cpu+_tid", FORMAT, { placeOf }).backend).toBe("wasm");
  });
});

function kvmMsiSetIrq(): EventFormat {
  return parseFormat(
    `name: kvm_msi_set_irq
ID: 105
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__u64 address;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__u64 data;\toffset:16;\tsize:8;\tsigned:0;

print fmt: "x"
`,
    "kvm",
  );
}

test("makeRecord() is as long as the fixture says", () => {
  expect(makeRecord().length).toBe(RECORD_BYTES + 32);
});
