// Print formats that are C statements and not expressions, as equivalent expressions.
//
// kvmmmu's page events declare a union, fill it and call trace_seq_printf(); no tool can evaluate
// that in general. What they mean is known: the bits of union kvm_mmu_page_role in the kernel's
// arch/x86/include/asm/kvm_host.h, as they lie since 5.19 (when has_4_byte_gpte came in).

import type { EventFormat } from "./format.ts";

/**
 * "sp gen 0 gfn 1234 l1 8-byte q0 direct wux !nxe ad root 0 sync", with a %s hole before its end.
 */
const PAGE_TEXT = "sp gen %u gfn %llx l%u %u-byte q%u%s %s%s %snxe %sad root %u %s";

const PAGE_ARGUMENTS = [
  "REC->mmu_valid_gen",
  "REC->gfn",
  "REC->role & 15",
  "(REC->role >> 4 & 1) ? 4 : 8",
  "REC->role >> 5 & 3",
  '(REC->role >> 7 & 1) ? " direct" : ""',
  "__print_symbolic(REC->role >> 8 & 7, " +
    '{ 0, "---" }, { 1, "--x" }, { 2, "w--" }, { 3, "w-x" }, ' +
    '{ 4, "-u-" }, { 5, "-ux" }, { 6, "wu-" }, { 7, "wux" })',
  '(REC->role >> 11 & 1) ? " invalid" : ""',
  '(REC->role >> 12 & 1) ? "" : "!"',
  '(REC->role >> 16 & 1) ? "!" : ""',
  "REC->root_count",
  'REC->unsync ? "unsync" : "sync"',
];

const PAGE_EVENTS: ReadonlySet<string> = new Set([
  "kvm_mmu_get_page",
  "kvm_mmu_sync_page",
  "kvm_mmu_unsync_page",
  "kvm_mmu_prepare_zap_page",
]);

/** The text to compile for an event: its own print format, or one that means the same. */
export function printFormatOf(format: EventFormat): string {
  const { name, printFormat } = format;
  const isPage = PAGE_EVENTS.has(name) && printFormat.includes("role.has_4_byte_gpte");
  if (!isPage) return printFormat;
  const isCreated = name === "kvm_mmu_get_page";
  const text = isCreated ? `${PAGE_TEXT} %s` : PAGE_TEXT;
  const created = isCreated ? ['REC->created ? "new" : "existing"'] : [];
  return [`"${text}"`, ...PAGE_ARGUMENTS, ...created].join(", ");
}
