/**
 * How a guest's TSC becomes canonical time while a session runs: the policy of align/alignment.ts,
 * fed by this thin shell, which pings, reads KVM's debugfs, and finds out whose guest it is.
 */

import { readTsc } from "../../shared/sys/clock.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { peerPid } from "../../shared/sys/socket.ts";
import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import { guestTsc, hostTsc } from "../../shared/tsc/tsc.ts";
import type { Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { GuestAlignment } from "../align/alignment.ts";
import { KvmLookupError, type KvmVm, readVcpus, vmOfPid } from "../align/kvm_debugfs.ts";
import { pidOfTcpPeer, pidOfVm } from "../align/vm_lookup.ts";
import type { GuestLink } from "../link/guest_link.ts";

/** How often KVM's offsets are read again. */
const KVM_POLL_MS = 1000;

export interface GuestTimeOptions {
  readonly anchor: bigint;
  /** --tsc-offset. */
  readonly manualOffset: bigint | undefined;
  /** --vm. */
  readonly vm: string | undefined;
  readonly onFinding: (text: string) => void;
}

export class GuestTime {
  readonly alignment: GuestAlignment;
  /** Grows with each renewal. */
  version = 0;
  readonly #options: GuestTimeOptions;
  #vm: KvmVm | undefined;
  #nextKvmMs = 0;
  #nextPingMs = 0;
  #sequence = 0;
  #hasComplained = false;

  constructor(options: GuestTimeOptions) {
    this.#options = options;
    const { manualOffset, anchor } = options;
    const hostAnchor = hostTsc(anchor);
    this.alignment = new GuestAlignment(
      manualOffset === undefined
        ? { wanted: "auto", hostAnchor }
        : { wanted: "manual", manualOffset, hostAnchor },
    );
  }

  /** Guest TSC to canonical cycles; undefined until known. */
  segmentFor(cpu: number): TimeSegment | undefined {
    return this.alignment.segmentFor(cpu);
  }

  /** A stream began: its CPUs are known, and the process behind the link can be looked for. */
  begin(hello: Hello, link: GuestLink): void {
    this.alignment.setCpus(hello.cpus.map(({ cpu, apicId }) => ({ cpu, apicId })));
    this.#vm = this.#findVm(link);
    this.#nextKvmMs = 0;
    this.version++;
  }

  /** Does what is due. */
  tick(link: GuestLink, nowMs: number): void {
    if (!link.isStreaming || link.source.isFile) return;
    if (this.#vm !== undefined && nowMs >= this.#nextKvmMs) this.#readKvm(this.#vm, nowMs);
    if (nowMs < this.#nextPingMs) return;
    link.ping(this.#sequence++);
    this.#nextPingMs = nowMs + this.alignment.ping.nextDelayMs();
  }

  onPong(sent: bigint, guestReceived: bigint, guestSent: bigint, received: bigint): void {
    const finding = this.alignment.addRoundTrip({
      hostSent: hostTsc(sent),
      guestReceived: guestTsc(guestReceived),
      guestSent: guestTsc(guestSent),
      hostReceived: hostTsc(received),
    });
    this.version++;
    if (finding === undefined || this.#hasComplained) return;
    this.#hasComplained = true;
    this.#options.onFinding(
      `WARNING: round trips contradict the TSC offset (${finding.method}) by at least ` +
        `${Math.round(finding.excessCycles)} cycles: latencies across the boundary are off`,
    );
  }

  #findVm(link: GuestLink): KvmVm | undefined {
    try {
      return vmOfPid(this.#ownerOf(link));
    } catch (error) {
      const isExpected = error instanceof KvmLookupError || error instanceof SysError;
      if (!isExpected) throw error;
      this.alignment.kvmFailed(error.message, error.hint ?? "");
      return undefined;
    }
  }

  /** The process at the other end of the link: QEMU, or whoever listens. */
  #ownerOf(link: GuestLink): number {
    const { vm } = this.#options;
    if (vm !== undefined) return pidOfVm(vm);
    const { fd, address } = link.source;
    if (address?.kind === "unix") return peerPid(fd);
    if (address !== undefined) return pidOfTcpPeer(link.source.ownPort, address.port);
    throw new KvmLookupError(`Cannot find the process behind ${link.source.name}`, "--vm PID");
  }

  #readKvm(vm: KvmVm, nowMs: number): void {
    this.#nextKvmMs = nowMs + KVM_POLL_MS;
    try {
      this.alignment.setKvm(vm.path, readVcpus(vm), hostTsc(readTsc()));
    } catch (error) {
      if (!(error instanceof KvmLookupError)) throw error;
      this.alignment.kvmFailed(error.message, error.hint);
    }
    this.version++;
  }
}
