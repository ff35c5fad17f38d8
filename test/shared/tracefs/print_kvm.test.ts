/** kvm's print formats, as its kernels give them, on records written by hand. */
import { describe, expect, test } from "bun:test";
import { makeFormat, render } from "./support/print_fixture.ts";

describe("compilePrintFormat() on kvm's formats", () => {
  test("kvm_msi_set_irq prints as in the spec document", () => {
    const format = makeFormat(
      ["__u64 address@8:8", "__u64 data@16:8"],
      '"dst %llx vec %u (%s|%s|%s%s)", (u8)(REC->address >> 12) | ((REC->address >> 32) & 0xffffff00), (u8)REC->data, __print_symbolic((REC->data >> 8 & 0x7), {0x0, "Fixed"}, {0x1, "LowPrio"}, {0x2, "SMI"}, {0x3, "Res3"}, {0x4, "NMI"}, {0x5, "INIT"}, {0x6, "SIPI"}, {0x7, "ExtINT"}), (REC->address & (1<<2)) ? "logical" : "physical", (REC->data & (1<<15)) ? "level" : "edge", (REC->address & (1<<3)) ? "|rh" : ""',
      "kvm_msi_set_irq",
      "kvm",
    );
    const record = new Uint8Array(24);
    const view = new DataView(record.buffer);
    view.setBigUint64(8, 0xfee65000n, true);
    view.setBigUint64(16, 0x23n, true);
    expect(render(format, record)).toBe("dst 65 vec 35 (Fixed|physical|edge)");
    view.setBigUint64(8, 0x00000100fee6500cn, true);
    view.setBigUint64(16, 0x8723n, true);
    expect(render(format, record)).toBe("dst 165 vec 35 (ExtINT|logical|level|rh)");
  });

  test("kvm_exit chooses its table by isa, and tells a failed entry", () => {
    const format = makeFormat(
      [
        "unsigned int exit_reason@8:4",
        "unsigned long guest_rip@16:8",
        "u32 isa@24:4",
        "u64 info1@32:8",
        "u64 info2@40:8",
        "u32 intr_info@48:4",
        "u32 error_code@52:4",
        "unsigned int vcpu_id@56:4",
        "u64 requests@64:8",
      ],
      '"vcpu %u reason %s%s%s rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x requests 0x%016llx", REC->vcpu_id, (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, { 0, "EXCEPTION_NMI" }, { 1, "EXTERNAL_INTERRUPT" }, { 12, "HLT" }, { 33, "INVALID_STATE" }) : __print_symbolic(REC->exit_reason, { 0x060, "interrupt" }, { 0x078, "hlt" }, { -1, "invalid_guest_state" }), (REC->isa == 1 && REC->exit_reason & ~0xffff) ? " " : "", (REC->isa == 1) ? __print_flags(REC->exit_reason & ~0xffff, " ", { 0x80000000, "FAILED_VMENTRY" }) : "", REC->guest_rip, REC->info1, REC->info2, REC->intr_info, REC->error_code, REC->requests',
      "kvm_exit",
      "kvm",
    );
    const record = new Uint8Array(72);
    const view = new DataView(record.buffer);
    const tail =
      " rip 0xffffffff81234567 info1 0x0000000000000181 info2 0x0000000000000000 intr_info 0x800000f6 error_code 0x00000000 requests 0x0000000000000000";
    view.setBigUint64(16, 0xffffffff81234567n, true);
    view.setBigUint64(32, 0x181n, true);
    view.setUint32(48, 0x800000f6, true);
    view.setUint32(56, 3, true);
    for (const [isa, reason, want] of [
      [1, 12, "HLT"],
      [1, 0x80000021, "INVALID_STATE FAILED_VMENTRY"],
      [1, 0x4000000c, "HLT 0x40000000"],
      [2, 0x78, "hlt"],
      [2, 0x77, "0x77"],
    ] as const) {
      view.setUint32(24, isa, true);
      view.setUint32(8, reason, true);
      expect(render(format, record)).toBe(`vcpu 3 reason ${want}${tail}`);
    }
  });

  test("kvm_entry, kvm_pio and the mmu's page events", () => {
    const entry = makeFormat(
      [
        "unsigned int vcpu_id@8:4",
        "unsigned long rip@16:8",
        "bool immediate_exit@24:1",
        "u32 intr_info@28:4",
        "u32 error_code@32:4",
      ],
      '"vcpu %u, rip 0x%lx intr_info 0x%08x error_code 0x%08x%s", REC->vcpu_id, REC->rip, REC->intr_info, REC->error_code, REC->immediate_exit ? "[immediate exit]" : ""',
    );
    const record = new Uint8Array(40);
    record[8] = 2;
    record[24] = 1;
    expect(render(entry, record)).toBe(
      "vcpu 2, rip 0x0 intr_info 0x00000000 error_code 0x00000000[immediate exit]",
    );
    const pio = makeFormat(
      [
        "unsigned int rw@8:4",
        "unsigned int port@12:4",
        "unsigned int size@16:4",
        "unsigned int count@20:4",
        "unsigned int val@24:4",
      ],
      '"pio_%s at 0x%x size %d count %d val 0x%x %s", REC->rw ? "write" : "read", REC->port, REC->size, REC->count, REC->val, REC->count > 1 ? "(...)" : ""',
    );
    const words = new Uint8Array(Uint32Array.of(0, 0, 1, 0x3f8, 1, 2, 65).buffer);
    expect(render(pio, words)).toBe("pio_write at 0x3f8 size 1 count 2 val 0x41 (...)");
    const page = makeFormat(
      [
        "__u8 mmu_valid_gen@8:1",
        "__u64 gfn@16:8",
        "__u32 role@24:4",
        "__u32 root_count@28:4",
        "bool unsync@32:1",
        "bool created@33:1",
      ],
      '"%s %s", ({ const char *saved_ptr = trace_seq_buffer_ptr(p); union kvm_mmu_page_role role; role.word = REC->role; role.has_4_byte_gpte; saved_ptr; }), REC->created ? "new" : "existing"',
      "kvm_mmu_get_page",
      "kvmmmu",
    );
    const bytes = new Uint8Array(40);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(16, 0x1234n, true);
    view.setUint32(24, 1 | (1 << 7) | (7 << 8) | (1 << 12), true);
    bytes[33] = 1;
    expect(render(page, bytes)).toBe(
      "sp gen 0 gfn 1234 l1 8-byte q0 direct wux nxe ad root 0 sync new",
    );
  });
});
