/**
 * Which message-signalled interrupt a device of the guest raises, so that injections of this one
 * interrupt can be told from all others on the host.
 *
 * An MSI is a memory write: its address names the CPU, its data the vector. The pair is unique in
 * the guest, and it is what QEMU's msi_send_message(dev, {address, data}) and the host kernel's
 * kvm:kvm_msi_set_irq both get. The guest's kernel chose it and wrote it into the device's MSI-X
 * table, where QEMU's monitor reads it:
 *
 *   /proc/interrupts   30: 194 0 PCI-MSI 49156-edge virtio1-input   gives device 00:03.0, entry 4
 *   xp /4xw 0xfebff040 00000000febff040: 0xfee01004 0x00000000 0x00000026 0x00000000
 */

import { POKE_CONTROLLER_ID } from "./qemu_args.ts";
import type { QmpClient } from "./qmp.ts";

/** QEMU's virtio devices keep the MSI-X table at the start of this BAR. */
const MSIX_BAR = 1;
const MSIX_ENTRY_BYTES = 16;
/** IRQ number, counts per CPU, PCI address (new kernels), entry or a number for both, name. */
const MSI_LINE = new RegExp(
  String.raw`^\s*(\d+):((?:\s+\d+)+)\s+` +
    String.raw`PCI-MSIX?(?:-[0-9a-f]{4}:([0-9a-f]{2}:[0-9a-f]{2}\.\d))?\s+(\d+)-edge\s+(\S.*)$`,
);
/** Bit 2 of the address: the destination is a mask of logical CPUs, not an APIC id. */
const DESTINATION_LOGICAL = 0x4;

export interface InterruptLine {
  readonly irq: number;
  /** As in irq_handler_entry's name. */
  readonly name: string;
  /** Interrupts handled since boot, on all CPUs. */
  readonly count: number;
  /** PCI address without the domain, as in "00:03.0". */
  readonly device: string;
  /** Index into the device's MSI-X table. */
  readonly entry: number;
}

export interface MsiMessage {
  readonly address: bigint;
  readonly data: number;
}

function pciAddress(requester: number): string {
  const hex = (value: number): string => value.toString(16).padStart(2, "0");
  return `${hex(requester >> 8)}:${hex((requester >> 3) & 31)}.${requester & 7}`;
}

/**
 * The MSI lines of /proc/interrupts. Kernels before 6.5 print one number for device and entry,
 * "PCI-MSI 49156-edge"; later ones "PCI-MSIX-0000:00:03.0 4-edge".
 */
export function parseMsiLines(text: string): InterruptLine[] {
  const lines: InterruptLine[] = [];
  for (const line of text.split("\n")) {
    const match = MSI_LINE.exec(line);
    if (match === null) {
      continue;
    }
    const [, irq, counts, device, hardwareIrq, name] = match;
    const number = Number(hardwareIrq);
    lines.push({
      irq: Number(irq),
      name: name!.trim(),
      count: counts!
        .trim()
        .split(/\s+/)
        .reduce((sum, count) => sum + Number(count), 0),
      device: device ?? pciAddress((number >> 11) & 0xffff),
      entry: device === undefined ? number & 0x7ff : number,
    });
  }
  return lines;
}

/** The four words of a table entry, as the monitor's "xp /4xw" prints them. */
export function parseMsixEntry(text: string): MsiMessage {
  const words = /:((?:\s+0x[0-9a-f]{8}){4})\s*$/.exec(text.trim())?.[1]?.trim().split(/\s+/);
  if (words === undefined) {
    throw new SyntaxError(`Cannot read an MSI-X entry: "${text.trim()}", wanted four words`);
  }
  const [low, high, data] = words.map(Number) as [number, number, number];
  return { address: (BigInt(high) << 32n) | BigInt(low), data };
}

/** Whether the destination in an MSI's address is a mask (bit N is CPU N) and not an APIC id. */
export function isLogicalDestination(message: MsiMessage): boolean {
  return (Number(message.address & 0xffn) & DESTINATION_LOGICAL) !== 0;
}

interface PciDevice {
  readonly qdev_id: string;
  readonly regions: readonly { readonly bar: number; readonly address: number }[];
}

/** What the guest wrote into entry `entry` of a device's MSI-X table; `id` is QEMU's id. */
export async function readMsixEntry(
  qmp: QmpClient,
  entry: number,
  id = POKE_CONTROLLER_ID,
): Promise<MsiMessage> {
  const buses = (await qmp.execute("query-pci")) as { devices: PciDevice[] }[];
  const device = buses.flatMap(({ devices }) => devices).find(({ qdev_id }) => qdev_id === id);
  const bar = device?.regions.find((region) => region.bar === MSIX_BAR);
  if (bar === undefined) {
    throw new ReferenceError(`Cannot read the MSI-X table of "${id}": no such device or BAR`);
  }
  const address = bar.address + entry * MSIX_ENTRY_BYTES;
  return parseMsixEntry(await qmp.monitor(`xp /4xw 0x${address.toString(16)}`));
}
