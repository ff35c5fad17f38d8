/**
 * What a kernel's clocksource makes of CLOCK_MONOTONIC_RAW beside the TSC, by its name in
 * /sys/devices/system/clocksource/clocksource0/current_clocksource.
 *
 *   tsc         RAW is the TSC times a constant: one straight line
 *   kvm-clock   the TSC by a page that the hypervisor updates: a line with small jumps
 *   hpet        another counter: each of the two may jump where the other does not
 */

export interface Clocksource {
  /** The longest that RAW shows one value: the counter's period, and a nanosecond of rounding. */
  readonly granuleNs: number;
  /** RAW is computed from this machine's own TSC by a factor that never changes. */
  readonly isTsc: boolean;
  /**
   * A CPU that finds another one reading the counter takes that one's value, which may be from
   * before it asked (read_hpet() in Linux since 4.9): a stamp is then older than its event, by as
   * long as the other CPU stands still between its reading and its handing it on.
   */
  readonly isShared: boolean;
}

export const TSC_CLOCKSOURCE: Clocksource = { granuleNs: 1, isTsc: true, isShared: false };

/** Nobody says how coarse it is: none that a kernel of a virtual machine prefers is coarser. */
const UNKNOWN: Clocksource = { granuleNs: 1_001, isTsc: false, isShared: false };

const CLOCKSOURCES: ReadonlyMap<string, Clocksource> = new Map([
  ["tsc", TSC_CLOCKSOURCE],
  ["kvm-clock", { granuleNs: 1, isTsc: false, isShared: false }],
  ["xen", { granuleNs: 1, isTsc: false, isShared: false }],
  // Both count 100 ns.
  ["hyperv_clocksource_tsc_page", { granuleNs: 101, isTsc: false, isShared: false }],
  ["hyperv_clocksource_msr", { granuleNs: 101, isTsc: false, isShared: false }],
  // IA-PC HPET specification 1.0a, COUNTER_CLK_PERIOD: at most 100 ns.
  ["hpet", { granuleNs: 101, isTsc: false, isShared: true }],
  // 3.579545 MHz.
  ["acpi_pm", { granuleNs: 281, isTsc: false, isShared: false }],
]);

/** By a name that may be a guest's: any text. */
export function clocksourceOf(name: string): Clocksource {
  return CLOCKSOURCES.get(name) ?? UNKNOWN;
}

/** Whether a machine with so many CPUs may stamp events with readings from before them. */
export function hasOldStamps(clocksource: Clocksource, cpuCount: number): boolean {
  return clocksource.isShared && cpuCount > 1;
}
