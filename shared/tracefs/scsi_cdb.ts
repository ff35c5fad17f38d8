// SCSI command descriptor blocks as text, as the kernel's scsi_trace_parse_cdb() has it.
//
//   28 00 00 00 08 00 00 00 08 00     lba=2048 txlen=8 protect=0
//
// Opcodes and layouts: SCSI Block Commands; must match drivers/scsi/scsi_trace.c.

import type { ByteWriter } from "../text/byte_writer.ts";

const VARIABLE_LENGTH = 0x7f;
const SERVICE_ACTION_IN_16 = 0x9e;
const UNMAP = 0x42;
const WRITE_SAME_10 = 0x41;
const WRITE_SAME_16 = 0x93;
const WRITE_SAME_32 = 0x0d;

/** Where a command of one group has its fields; sizes in bytes. */
interface Layout {
  readonly lbaAt: number;
  readonly lbaBytes: 4 | 8;
  readonly lengthAt: number;
  readonly lengthBytes: 2 | 4;
}

const GROUP_10: Layout = { lbaAt: 2, lbaBytes: 4, lengthAt: 7, lengthBytes: 2 };
const GROUP_12: Layout = { lbaAt: 2, lbaBytes: 4, lengthAt: 6, lengthBytes: 4 };
const GROUP_16: Layout = { lbaAt: 2, lbaBytes: 8, lengthAt: 10, lengthBytes: 4 };

const LAYOUTS: ReadonlyMap<number, Layout> = new Map([
  ...[0x28, 0x2f, 0x2a, WRITE_SAME_10].map((code): [number, Layout] => [code, GROUP_10]),
  ...[0xa8, 0xaf, 0xaa].map((code): [number, Layout] => [code, GROUP_12]),
  ...[0x88, 0x8f, 0x8a, WRITE_SAME_16].map((code): [number, Layout] => [code, GROUP_16]),
]);

const LONG_NAMES: ReadonlyMap<number, string> = new Map([
  [0x09, "READ"],
  [0x0a, "VERIFY"],
  [0x0b, "WRITE"],
  [WRITE_SAME_32, "WRITE_SAME"],
]);

const SERVICE_NAMES: ReadonlyMap<number, string> = new Map([
  [0x10, "READ_CAPACITY_16"],
  [0x12, "GET_LBA_STATUS"],
]);

/** Reads big-endian numbers of one command; what lies behind its end counts as 0. */
class Command {
  readonly #bytes: Uint8Array;
  readonly #from: number;
  readonly #to: number;
  constructor(bytes: Uint8Array, from: number, to: number) {
    this.#bytes = bytes;
    this.#from = from;
    this.#to = to;
  }

  byte(at: number): number {
    const index = this.#from + at;
    return index < this.#to ? this.#bytes[index]! : 0;
  }

  number(at: number, bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + this.byte(at + i);
    return value;
  }
}

/** Writes the command in bytes[from .. to); "-" for one that has no text. */
export function writeCdb(out: ByteWriter, bytes: Uint8Array, from: number, to: number): void {
  const command = new Command(bytes, from, to);
  const opcode = command.byte(0);
  const layout = LAYOUTS.get(opcode);
  if (layout !== undefined) writeGroup(out, command, opcode, layout);
  else if (opcode === 0x08 || opcode === 0x0a) writeShort(out, command);
  else if (opcode === UNMAP) {
    out.ascii("regions=");
    out.u64(Math.trunc((command.number(7, 2) - 8) / 16), 0);
  } else if (opcode === SERVICE_ACTION_IN_16) writeService(out, command);
  else if (opcode === VARIABLE_LENGTH) writeLong(out, command);
  else out.ascii("-");
}

function writeLba(out: ByteWriter, command: Command, at: number, bytes: 4 | 8): void {
  out.ascii("lba=");
  out.u64(command.number(at + bytes - 4, 4), bytes === 8 ? command.number(at, 4) : 0);
}

function writeNumber(out: ByteWriter, label: string, value: number): void {
  out.ascii(label);
  out.dec(value);
}

/** READ_6, WRITE_6: 21 bits of address. */
function writeShort(out: ByteWriter, command: Command): void {
  writeNumber(out, "lba=", command.number(1, 3) & 0x1fffff);
  writeNumber(out, " txlen=", command.byte(4));
}

function writeGroup(out: ByteWriter, command: Command, opcode: number, layout: Layout): void {
  writeLba(out, command, layout.lbaAt, layout.lbaBytes);
  writeNumber(out, " txlen=", command.number(layout.lengthAt, layout.lengthBytes));
  writeNumber(out, " protect=", command.byte(1) >> 5);
  if (opcode === WRITE_SAME_10 || opcode === WRITE_SAME_16) {
    writeNumber(out, " unmap=", (command.byte(1) >> 3) & 1);
  }
}

function writeService(out: ByteWriter, command: Command): void {
  const name = SERVICE_NAMES.get(command.byte(1) & 31);
  if (name === undefined) {
    out.ascii("UNKNOWN");
    return;
  }
  out.ascii(`${name} `);
  writeLba(out, command, 2, 8);
  writeNumber(out, " alloc_len=", command.number(10, 4));
}

/** Commands of 32 bytes: the service action says which. */
function writeLong(out: ByteWriter, command: Command): void {
  const action = command.number(8, 2);
  const name = LONG_NAMES.get(action);
  if (name === undefined) {
    out.ascii("-");
    return;
  }
  out.ascii(`${name}_32 `);
  writeLba(out, command, 12, 8);
  writeNumber(out, " txlen=", command.number(28, 4));
  writeNumber(out, " protect=", command.byte(10) >> 5);
  writeNumber(out, " ei_lbrt=", command.number(20, 4));
  if (action === WRITE_SAME_32) writeNumber(out, " unmap=", (command.byte(10) >> 3) & 1);
}
