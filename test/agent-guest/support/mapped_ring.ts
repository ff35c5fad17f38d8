/** A CPU's ring in mapped memory, as the kernel's is, filled by the test. */
import type { CpuRing } from "../../../shared/event/event_set.ts";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { CONTROL_BYTES } from "../../../shared/perf/ring.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { FakeRing } from "../../shared/perf/ring_fixture.ts";

export class MappedRing extends FakeRing implements Disposable {
  readonly cpuRing: CpuRing;
  readonly #mapping: Mapping;

  constructor(ringBytes: number, start = 0) {
    const mapping = Mapping.anonymous(CONTROL_BYTES + ringBytes);
    super(ringBytes, start, mapping.buffer);
    this.#mapping = mapping;
    const address = mapping.address + CONTROL_BYTES;
    this.cpuRing = { cpu: 3, ring: this.ring, address } as CpuRing;
  }

  /** Writes `count` samples of `size` bytes, told apart by their contents. */
  writeSamples(count: number, size: number): void {
    for (let i = 0; i < count; i++) this.write(PERF_RECORD_SAMPLE, size, i * 31);
    this.ring.refreshHead();
  }

  bytesAt(from: number, to: number): Uint8Array {
    return Uint8Array.from({ length: to - from }, (_, i) => {
      return this.ring.data[this.ring.offsetOf(from + i)]!;
    });
  }

  [Symbol.dispose](): void {
    this.#mapping.close();
  }
}
