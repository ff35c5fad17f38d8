// CpuLedger: where the events of one CPU of one machine went, as a value.
//
//   produced = delivered + lost by the kernel + dropped at a named place

export interface CpuLedger {
  readonly cpu: number;
  /**
   * Records that the kernel made or would have made. Undefined when nobody has said: a guest was
   * killed, or we joined a running stream.
   */
  readonly produced: number | undefined;
  readonly delivered: number;
  readonly lostKernel: number;
  readonly drops: readonly { readonly place: string; readonly events: number }[];
  /** Bytes of the ring's stream that never came and belong to no place. */
  readonly gapBytes: number;
}

/** Events dropped at named places. */
export function droppedEvents({ drops }: CpuLedger): number {
  return drops.reduce((sum, { events }) => sum + events, 0);
}
