/**
 * Which TSC relation held for a vCPU when: epochs by host TSC, so that an event is converted with
 * the relation of its own time and not with today's.
 *
 *   host TSC ----p0------p1----w-----p2------>    p: polls of debugfs, w: kvm_write_tsc_offset
 *   known     [ A        A ]  ?    [ B  ...       poll alone: B from p2, in doubt since p1
 *   with w    [ A           ][ B        ...       the event's stamp removes the doubt
 *
 * debugfs says what is in force, the event only when it was written: an offset that debugfs does
 * not show (a KVM that keeps the guest on the host's TSC announces them all the same) is none. The
 * two may arrive in either order, as the event waits in its ring while a poll runs.
 */
import type { HostTsc } from "../../shared/tsc/tsc.ts";
import { type TscRelation, tscRelation } from "./kvm_offset.ts";

/** One relation and when it began. */
export interface TscEpoch {
  readonly relation: TscRelation;
  /** In force from here; the first epoch also before. */
  readonly from: HostTsc;
  /** The change happened after this and not after `from`; equal to `from` when known exactly. */
  readonly doubtFrom: HostTsc;
}

interface AnnouncedWrite {
  readonly previous: bigint;
  readonly next: bigint;
  readonly at: HostTsc;
}

/** Epochs kept per vCPU; a guest that writes its TSC forever must not fill the host's memory. */
export const TSC_EPOCHS_MAX = 64;
/** Announced writes that wait for a poll; the oldest goes first. */
const WRITES_WAITING_MAX = 64;

/** The epochs of one vCPU. */
export class TscTimeline {
  /** Oldest first, never empty. */
  #epochs: TscEpoch[];
  /** Announced and not seen in debugfs yet, by time. */
  #writes: AnnouncedWrite[] = [];
  #confirmed: HostTsc;
  /** Announced changes since it began that debugfs never showed: another one was not heard of. */
  unexplainedWrites = 0;
  readonly #since: HostTsc;

  /** The relation was read from host TSC `began` to `at`. */
  constructor(relation: TscRelation, at: HostTsc, began = at) {
    this.#epochs = [{ relation, from: began, doubtFrom: began }];
    this.#confirmed = began;
    this.#since = at;
  }

  get epochs(): readonly TscEpoch[] {
    return this.#epochs;
  }

  get newest(): TscEpoch {
    return this.#epochs[this.#epochs.length - 1]!;
  }

  /** The epoch that holds an event at host TSC `at`. */
  at(at: HostTsc): TscEpoch {
    for (let i = this.#epochs.length - 1; i > 0; i--) {
      if (this.#epochs[i]!.from <= at) return this.#epochs[i]!;
    }
    return this.#epochs[0]!;
  }

  /**
   * debugfs was read from host TSC `began` to `at` and said `relation`: what is new was written
   * before `at`, what is as before may have changed since `began`. Returns whether epochs changed.
   */
  poll(relation: TscRelation, at: HostTsc, began = at): boolean {
    const doubtFrom = this.#confirmed;
    if (began < doubtFrom) return false;
    this.#confirmed = began;
    const { relation: old, from: oldFrom } = this.newest;
    const due = this.#writes.filter((write) => oldFrom < write.at && write.at <= at);
    const told = chainOf(due, old.offset, relation.offset);
    this.#dropWrites(doubtFrom, told);
    const isSameScale = old.ratio === relation.ratio && old.fracBits === relation.fracBits;
    if (told.length > 0 && isSameScale) {
      for (const write of told) this.#append(relation, write);
      return true;
    }
    if (old.offset === relation.offset && isSameScale) return false;
    this.#push({ relation, from: at, doubtFrom });
    return true;
  }

  /**
   * kvm_write_tsc_offset at host TSC `at`. Returns whether the epochs changed: a poll had already
   * seen the result. Otherwise the write waits for the next poll, which should come soon.
   */
  write(previous: bigint, next: bigint, at: HostTsc): boolean {
    const write = { previous: BigInt.asIntN(64, previous), next: BigInt.asIntN(64, next), at };
    this.#writes.push(write);
    this.#writes.sort((a, b) => (a.at < b.at ? -1 : 1));
    if (this.#writes.length > WRITES_WAITING_MAX) this.#giveUp(this.#writes.splice(0, 1));
    return this.#removeDoubt(at);
  }

  /**
   * Forgets writes that became epochs, and those that two polls could not explain: an event that
   * completes a chain may come later than the poll after it.
   */
  #dropWrites(before: HostTsc, told: readonly AnnouncedWrite[]): void {
    const open = this.#writes.filter((write) => !told.includes(write));
    this.#writes = open.filter((write) => write.at > before);
    this.#giveUp(open.filter((write) => write.at <= before));
  }

  #giveUp(writes: readonly AnnouncedWrite[]): void {
    for (const { previous, next, at } of writes) {
      if (previous !== next && at > this.#since) this.unexplainedWrites++;
    }
  }

  /** The epoch that a poll found, with `at` in its doubt: now told write by write, if all came. */
  #removeDoubt(at: HostTsc): boolean {
    const index = this.#epochs.findIndex((epoch) => epoch.doubtFrom < at && at <= epoch.from);
    if (index < 1) return false;
    const { relation, from, doubtFrom } = this.#epochs[index]!;
    const before = this.#epochs[index - 1]!.relation.offset;
    const due = this.#writes.filter((write) => doubtFrom < write.at && write.at <= from);
    const told = chainOf(due, before, relation.offset);
    if (told.length === 0) return false;
    this.#writes = this.#writes.filter((write) => !told.includes(write));
    const later = this.#epochs.slice(index + 1);
    this.#epochs = this.#epochs.slice(0, index);
    for (const write of told) this.#append(relation, write);
    for (const epoch of later) this.#push(epoch);
    return true;
  }

  #append({ ratio, fracBits }: TscRelation, { next, at }: AnnouncedWrite): void {
    this.#push({ relation: tscRelation(next, ratio, fracBits), from: at, doubtFrom: at });
  }

  #push(epoch: TscEpoch): void {
    this.#epochs.push(epoch);
    if (this.#epochs.length > TSC_EPOCHS_MAX) this.#epochs.shift();
  }
}

/**
 * The writes that lead from one offset to the other, each from where the one before ended; none if
 * they do not lead there.
 */
function chainOf(writes: readonly AnnouncedWrite[], from: bigint, to: bigint): AnnouncedWrite[] {
  const chain: AnnouncedWrite[] = [];
  let offset = from;
  for (const write of writes) {
    if (write.previous !== offset || write.next === offset) continue;
    chain.push(write);
    offset = write.next;
  }
  return offset === to ? chain : [];
}
