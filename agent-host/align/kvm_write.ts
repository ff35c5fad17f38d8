/**
 * kvm:kvm_write_tsc_offset out of perf records: KVM tells that it gave a vCPU another TSC offset.
 *
 *   vcpu=5 prev=18446743073709551616 next=0          field vcpu_id: APIC id, as in debugfs vcpu5
 *
 * The event does not say whose vCPU: its process does, which is the VMM that made the call or whose
 * vCPU thread the guest's own write ended up in. Records in, values out.
 */
import { PERF_RECORD_SAMPLE, RECORD_HEADER_BYTES } from "../../shared/perf/record.ts";
import type { EventFormat } from "../../shared/tracefs/format.ts";

/** Where the parts of a record lie. */
export interface KvmWriteLayout {
  /** In a sample, as sampleLayout() says. */
  readonly pidOffset: number;
  readonly timeOffset: number;
  /** Of u32 raw size; the raw data follow. */
  readonly rawSizeOffset: number;
  readonly vcpuOffset: number;
  readonly previousOffset: number;
  readonly nextOffset: number;
}

/** One announced write. */
export interface KvmWrite {
  readonly pid: number;
  /** Perf time. */
  readonly ns: bigint;
  readonly apicId: number;
  readonly previous: bigint;
  readonly next: bigint;
}

/** Offsets of the event's fields in its raw data. Throws RangeError for a format without them. */
export function kvmWriteFields(
  format: EventFormat,
): Pick<KvmWriteLayout, "vcpuOffset" | "previousOffset" | "nextOffset"> {
  const offset = (name: string, bytes: number): number => {
    const field = format.fieldByName.get(name);
    if (field === undefined || field.sizeBytes !== bytes) {
      throw new RangeError(`Cannot read kvm_write_tsc_offset: no field ${name} of ${bytes} bytes`);
    }
    return field.offsetBytes;
  };
  return {
    vcpuOffset: offset("vcpu_id", 4),
    previousOffset: offset("previous_tsc_offset", 8),
    nextOffset: offset("next_tsc_offset", 8),
  };
}

/**
 * The writes that a span of whole perf records holds. Other records are skipped; throws RangeError
 * for bytes that are none.
 */
export function readKvmWrites(bytes: Uint8Array, layout: KvmWriteLayout): KvmWrite[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const writes: KvmWrite[] = [];
  const { vcpuOffset, previousOffset, nextOffset } = layout;
  const rawBytes = Math.max(vcpuOffset + 4, previousOffset + 8, nextOffset + 8);
  let at = 0;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const size = view.getUint16(at + 6, true);
    if (size < RECORD_HEADER_BYTES || at + size > bytes.length) {
      throw new RangeError(`Cannot read KVM's records: record of ${size} bytes`);
    }
    const raw = at + layout.rawSizeOffset + 4;
    if (view.getUint32(at, true) === PERF_RECORD_SAMPLE && raw + rawBytes <= at + size) {
      writes.push({
        pid: view.getInt32(at + layout.pidOffset, true),
        ns: view.getBigUint64(at + layout.timeOffset, true),
        apicId: view.getUint32(raw + vcpuOffset, true),
        previous: view.getBigUint64(raw + previousOffset, true),
        next: view.getBigUint64(raw + nextOffset, true),
      });
    }
    at += size;
  }
  return writes;
}
