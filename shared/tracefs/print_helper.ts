// Kernel functions that print formats call by name, since their text cannot be had from the format:
// those that libtraceevent's plugins know, and mc_event_error_type().
//
//   scsi_trace_parse_cdb(p, cdb, len)   lba=2048 txlen=8 protect=0
//   jbd2_dev_to_name(dev)               254:0
//   xen_hypercall_name(op)              (mmu_update)
//   mc_event_error_type(type)           Corrected

import type { CallNode } from "../expr/ast.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";
import { placeOf } from "./print_place.ts";
import { writeCdb } from "./scsi_cdb.ts";

type HelperCompiler = (compiler: PieceCompiler, node: CallNode) => PrintPiece;

/** enum hw_event_mc_err_type in <linux/edac.h>, as the kernel's mc_event_error_type() names it. */
const ERROR_TYPES = ["Corrected", "Uncorrected", "Deferred", "Fatal"];

/** MINORBITS of <linux/kdev_t.h>. */
const MINOR_BITS = 20;

/** By number, from <xen/interface/xen.h>; the kernel's own table has the parentheses too. */
const XEN_HYPERCALLS =
  "set_trap_table mmu_update set_gdt stack_switch set_callbacks fpu_taskswitch sched_op_compat " +
  "dom0_op set_debugreg get_debugreg update_descriptor - memory_op multicall update_va_mapping " +
  "set_timer_op event_channel_op_compat xen_version console_io physdev_op_compat grant_table_op " +
  "vm_assist update_va_mapping_otherdomain iret vcpu_op set_segment_base mmuext_op acm_op nmi_op " +
  "sched_op callback_op xenoprof_op event_channel_op physdev_op hvm_op - - - - - - - - - - - - - " +
  "arch_0 arch_1 arch_2 arch_3 arch_4 arch_5 arch_6 arch_7";

const XEN_NAMES: readonly string[] = XEN_HYPERCALLS.split(" ").map((name) =>
  name === "-" ? "" : `(${name})`,
);

const HELPERS: ReadonlyMap<string, HelperCompiler> = new Map<string, HelperCompiler>([
  ["mc_event_error_type", namesPiece(ERROR_TYPES, "Info")],
  ["xen_hypercall_name", namesPiece(XEN_NAMES, "")],
  ["jbd2_dev_to_name", devicePiece],
  ["scsi_trace_parse_cdb", cdbPiece],
]);

/** Whether a function of this name gives text. */
export function isHelper(name: string): boolean {
  return HELPERS.has(name);
}

/** Compiles a call of a function for which isHelper() is true. Throws ExprError. */
export function helperPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const compile = HELPERS.get(node.name) ?? compiler.fail(`unknown function "${node.name}"`, node);
  return compile(compiler, node);
}

function namesPiece(names: readonly string[], other: string): HelperCompiler {
  return (compiler, node) => {
    const first = node.args[0] ?? compiler.fail(`${node.name}() wants a number`, node);
    const { evaluate } = compiler.number(first);
    return (c, out) => out.ascii(names[evaluate(c)] ?? other);
  };
}

function devicePiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const first = node.args[0] ?? compiler.fail("jbd2_dev_to_name() wants a device", node);
  const { evaluate } = compiler.number(first);
  return (c, out) => {
    const device = evaluate(c);
    out.dec(device >>> MINOR_BITS);
    out.ascii(":");
    out.dec(device & ((1 << MINOR_BITS) - 1));
  };
}

/** The first argument is the kernel's trace_seq; the second is where the command lies. */
function cdbPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [, commandNode, lengthNode] = node.args;
  if (commandNode === undefined || lengthNode === undefined) {
    return compiler.fail("scsi_trace_parse_cdb() takes 3 arguments", node);
  }
  const place = placeOf(compiler, commandNode);
  const { evaluate } = compiler.number(lengthNode);
  return (c, out) => {
    const length = Math.max(0, evaluate(c));
    place.find(c);
    writeCdb(out, c.textBytes, c.textFrom, Math.min(c.textTo, c.textFrom + length));
  };
}
