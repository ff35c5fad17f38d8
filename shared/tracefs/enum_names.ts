// Names of enum constants in format texts, replaced by their values: what the kernel does itself
// for those that it was told of (TRACE_DEFINE_ENUM), and tools outside of it cannot do.
//
//   print fmt: "state=%s", __print_flags(REC->state, "|", { I_DIRTY_SYNC, "I_DIRTY_SYNC" })
//   print fmt: "state=%s", __print_flags(REC->state, "|", { 16, "I_DIRTY_SYNC" })
//
// Done on the machine that the events come from, so that the values are those of its kernel and
// nothing but the text has to travel.

import { existsSync, readFileSync } from "node:fs";
import { BtfConstants, BtfError } from "./btf_constants.ts";

/** The types of the running kernel; any user may read them. */
const BTF_PATH = "/sys/kernel/btf/vmlinux";

/** A string, skipped; or a name, with what stands around it. */
const TOKEN = /"(?:[^"\\]|\\.)*"|(->\s*|\.\s*)?\b([A-Za-z_]\w*)\b(\s*\()?/g;
/** Enum constants that formats name are in capitals; `REC` is the record. */
const CONSTANT = /^[A-Z][A-Z0-9_]+$/;
const PRINT_FORMAT = "\nprint fmt:";

/** Whether the print format names anything that may be an enum constant. */
export function namesConstants(formatText: string): boolean {
  return replaceNames(formatText, () => 0n) !== formatText;
}

/** Replaces the names that `lookup` knows; other text stays as it is. */
export function replaceNames(
  formatText: string,
  lookup: (name: string) => bigint | undefined,
): string {
  const at = formatText.indexOf(PRINT_FORMAT);
  if (at < 0) return formatText;
  const printFormat = formatText.slice(at + PRINT_FORMAT.length);
  const replaced = printFormat.replace(TOKEN, (token, member, name, call) => {
    const isConstant =
      name !== undefined &&
      member === undefined &&
      call === undefined &&
      name !== "REC" &&
      CONSTANT.test(name);
    const value = isConstant ? lookup(name) : undefined;
    return value === undefined ? token : String(value);
  });
  return formatText.slice(0, at + PRINT_FORMAT.length) + replaced;
}

let running: BtfConstants | null | undefined;

/** A format text of the running kernel with its constants' values; BTF is read when needed. */
export function resolveEnumNames(formatText: string): string {
  if (!namesConstants(formatText)) return formatText;
  running ??= readRunning();
  const constants = running;
  return constants === null
    ? formatText
    : replaceNames(formatText, (name) => constants.lookup(name));
}

/** null on a kernel that has none, or none that can be read: names then stay names. */
function readRunning(): BtfConstants | null {
  if (!existsSync(BTF_PATH)) return null;
  try {
    return BtfConstants.parse(new Uint8Array(readFileSync(BTF_PATH)));
  } catch (error) {
    const isRefused = (error as NodeJS.ErrnoException).code !== undefined;
    if (error instanceof BtfError || isRefused) return null;
    throw error;
  }
}
