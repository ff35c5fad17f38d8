// DecodeCounters: what the records of one ring were, to the record. The ledger rests on it.

/** What a ring held, to the record. */
export interface DecodeCounters {
  /** PERF_RECORD_SAMPLE records, whatever became of them. */
  samples: number;
  /** Of these: no event of the session has this type or identifier; of a guest's, not asked for. */
  unknownEvents: number;
  /** Of these: fields that contradict the record's size. */
  malformedSamples: number;
  /** Of these: stamped before the one in front of them. */
  backwards: number;
  /** Of these: by more than an interrupt can account for. */
  farBackwards: number;
  /** Of these: raised to their predecessor's time where two fits of the clock meet. */
  raised: number;
  /** Of these: stamped after latestCycles, and set back to it. */
  fromFuture: number;
  /** Sum of PERF_RECORD_LOST and PERF_RECORD_LOST_SAMPLES. */
  lostEvents: number;
  taskRecords: number;
  throttled: number;
  /** Records of other types, and those whose size does not fit their type. */
  skippedRecords: number;
  /** Spans given up because of an impossible record size, and the bytes behind that place. */
  malformedSpans: number;
  malformedBytes: number;
}

/** All zero. */
export function noCounters(): DecodeCounters {
  return {
    samples: 0,
    unknownEvents: 0,
    malformedSamples: 0,
    backwards: 0,
    farBackwards: 0,
    raised: 0,
    fromFuture: 0,
    lostEvents: 0,
    taskRecords: 0,
    throttled: 0,
    skippedRecords: 0,
    malformedSpans: 0,
    malformedBytes: 0,
  };
}
