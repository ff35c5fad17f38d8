/**
 * Numbers of the perf ring buffer's records. Kernel names are kept.
 * Must match enum perf_event_type, enum perf_event_sample_format and struct perf_event_header
 * (u32 type, u16 misc, u16 size) in <linux/perf_event.h>.
 */

export const PERF_RECORD_LOST = 2;
export const PERF_RECORD_COMM = 3;
export const PERF_RECORD_EXIT = 4;
export const PERF_RECORD_THROTTLE = 5;
export const PERF_RECORD_UNTHROTTLE = 6;
export const PERF_RECORD_FORK = 7;
export const PERF_RECORD_SAMPLE = 9;
export const PERF_RECORD_LOST_SAMPLES = 13;

/** In `misc` of a PERF_RECORD_COMM: the name changed by execve. */
export const PERF_RECORD_MISC_COMM_EXEC = 1 << 13;

export const PERF_SAMPLE_IP = 1 << 0;
export const PERF_SAMPLE_TID = 1 << 1;
export const PERF_SAMPLE_TIME = 1 << 2;
export const PERF_SAMPLE_ADDR = 1 << 3;
export const PERF_SAMPLE_READ = 1 << 4;
export const PERF_SAMPLE_CALLCHAIN = 1 << 5;
export const PERF_SAMPLE_ID = 1 << 6;
export const PERF_SAMPLE_CPU = 1 << 7;
export const PERF_SAMPLE_PERIOD = 1 << 8;
export const PERF_SAMPLE_STREAM_ID = 1 << 9;
export const PERF_SAMPLE_RAW = 1 << 10;
export const PERF_SAMPLE_IDENTIFIER = 1 << 16;

/** sizeof(struct perf_event_header). */
export const PERF_HEADER_BYTES = 8;
