// What a batch program (program.ts) and whoever fills the chunks agree on.
//
// The context: i32 words that hold for all records of a call.
//
//   word   0      1     2       3                4                5
//          _cpu   _vm   _vcpu   offset of the    offset of the    offset of the
//                               pid,tid column   column of sizes  column of times

export const CONTEXT_CPU = 0;
export const CONTEXT_VM = 1;
export const CONTEXT_VCPU = 2;
/** Byte offset of the column of (u32 pid, u32 tid); 0 when the records carry no thread ids. */
export const CONTEXT_TASKS = 3;
/** Byte offset of the column of record sizes (u32); 0 makes every record too short. */
export const CONTEXT_RAW_BYTES = 4;
/** Byte offset of the column of canonical times (f64); 0 means that they are not known. */
export const CONTEXT_TIMES = 5;

/** In the event column: this record is to be skipped. */
export const SKIPPED_EVENT = 0xffff;
