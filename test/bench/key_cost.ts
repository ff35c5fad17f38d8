/**
 * The cost of a key in the pairing path: the longest key expression of perf-prof's own document, on
 * records of kvm:kvm_msi_set_irq, a chunk at a time as the engine runs it.
 */
import { compileKeyProgram } from "../../shared/expr/program.ts";
import { parseFormat } from "../../shared/tracefs/format.ts";

/** An MSI's address to the number of the guest's interrupt. */
const KEY = "(((address>>18)&1)?42:0) + ((address>>12)&0x3f)";
const FORMAT = `name: kvm_msi_set_irq
ID: 105
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__u64 address;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__u64 data;\toffset:16;\tsize:8;\tsigned:0;

print fmt: "x"
`;
const RECORDS = 1024;
const RECORD_BYTES = 24;
const ROUNDS = 20_000;
const EVENT = 1;
/** Where the columns lie, then the records. */
const AT = { offsets: 0, events: 4096, keys: 8192, sizes: 16384, context: 20480, records: 24576 };

/** Nanoseconds per event, and a check that the keys are right. */
export function measureKey(): number {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2 });
  const view = new DataView(memory.buffer);
  for (let i = 0; i < RECORDS; i++) {
    const record = AT.records + i * RECORD_BYTES;
    view.setUint32(AT.offsets + 4 * i, record, true);
    view.setUint16(AT.events + 2 * i, EVENT, true);
    view.setUint32(AT.sizes + 4 * i, RECORD_BYTES, true);
    view.setBigUint64(record + 8, 0xfee00000n + BigInt(i << 12), true);
  }
  view.setUint32(AT.context + 16, AT.sizes, true);
  const program = compileKeyProgram(KEY, parseFormat(FORMAT, "kvm")).bind(memory);
  const run = (): void => program.run(AT.offsets, AT.events, EVENT, RECORDS, AT.keys, AT.context);
  for (let i = 0; i < ROUNDS / 10; i++) run();
  const startMs = performance.now();
  for (let i = 0; i < ROUNDS; i++) run();
  const ns = ((performance.now() - startMs) * 1e6) / (ROUNDS * RECORDS);
  const key = view.getBigInt64(AT.keys + 8 * 65, true);
  if (key !== 43n) throw new Error(`Cannot bench a key: record 65 gave ${key}, wanted 43`);
  return ns;
}
