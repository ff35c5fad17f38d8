/**
 * Which TSC relation held for a vCPU when: epochs by host TSC, so that an event is converted with
 * the relation of its own time and not with today's.
 *
 *   host TSC ----p0------p1----w-----p2------>    p: polls of debugfs, w: kvm_write_tsc_offset
 *   known     [ A        A ]  ?    [ B  ...       poll alone: B from p2, in doubt since p1
 *   with w    [ A           ][ B        ...       the event's stamp removes the doubt
 *
 * The two sources may arrive in either order (the event waits in its ring while a poll runs).
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

/** Epochs kept per vCPU; a guest that writes its TSC forever must not fill the host's memory. */
export const TSC_EPOCHS_MAX = 64;

/** The epochs of one vCPU. */
export class TscTimeline {
  /** Oldest first, never empty. */
  readonly #epochs: TscEpoch[];
  #confirmed: HostTsc;
  /** Changes that no event announced, and events that continue from an offset we never saw. */
  missedCount = 0;
  /** Epochs dropped at TSC_EPOCHS_MAX. */
  forgottenCount = 0;

  /** The relation was read at host TSC `at`. */
  constructor(relation: TscRelation, at: HostTsc) {
    this.#epochs = [{ relation, from: at, doubtFrom: at }];
    this.#confirmed = at;
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

  /** debugfs said `relation` at host TSC `at`. Returns whether that is a change. */
  poll(relation: TscRelation, at: HostTsc): boolean {
    const doubtFrom = this.#confirmed;
    this.#confirmed = at > doubtFrom ? at : doubtFrom;
    if (isSame(this.newest.relation, relation)) return false;
    // An event stamped after this poll has already told of a later change.
    if (at < this.newest.from) return false;
    this.#insert({ relation, from: at, doubtFrom });
    return true;
  }

  /** kvm_write_tsc_offset at host TSC `at`; the ratio stays. Returns whether it is news. */
  write(previousOffset: bigint, nextOffset: bigint, at: HostTsc): boolean {
    const index = this.#epochs.findIndex(
      (epoch, i) =>
        i > 0 &&
        epoch.doubtFrom < at &&
        at <= epoch.from &&
        epoch.relation.offset === BigInt.asIntN(64, nextOffset),
    );
    if (index > 0) {
      this.#epochs[index] = { ...this.#epochs[index]!, from: at, doubtFrom: at };
      return true;
    }
    const before = this.at(at).relation;
    if (before.offset === BigInt.asIntN(64, nextOffset)) return false;
    if (before.offset !== BigInt.asIntN(64, previousOffset)) this.missedCount++;
    const relation = tscRelation(nextOffset, before.ratio, before.fracBits);
    this.#insert({ relation, from: at, doubtFrom: at });
    return true;
  }

  #insert(epoch: TscEpoch): void {
    let at = this.#epochs.length;
    while (at > 1 && this.#epochs[at - 1]!.from > epoch.from) at--;
    this.#epochs.splice(at, 0, epoch);
    if (this.#epochs.length > TSC_EPOCHS_MAX) {
      this.#epochs.shift();
      this.forgottenCount++;
    }
  }
}

function isSame(a: TscRelation, b: TscRelation): boolean {
  return a.offset === b.offset && a.ratio === b.ratio && a.fracBits === b.fracBits;
}
