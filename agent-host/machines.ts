/**
 * Who takes part in a session: the host, when it has events of its own, and each guest behind a
 * pull=. Opens them all, and knows how their times relate.
 */
import { UsageError } from "../shared/cli/failure.ts";
import { namesProcessId } from "../shared/event/spec.ts";
import { readTsc } from "../shared/sys/clock.ts";
import type { SymbolResolver } from "../shared/tracefs/symbols.ts";
import { parseTscOffset } from "./align/kvm_offset.ts";
import { pidOfVm } from "./align/vm_lookup.ts";
import { type PullTarget, parseHostEvents, parsePullTarget } from "./link/pull_target.ts";
import { Source, SourceError } from "./link/source.ts";
import type { EngineOrder } from "./protocol.ts";
import { ResumeFile } from "./resume_file.ts";
import { Guest } from "./session/guest.ts";
import type { WantedEvent } from "./session/guest_events.ts";
import { GuestTime } from "./session/guest_time.ts";
import { HostClock } from "./session/host_clock.ts";
import { LocalHost } from "./session/local_host.ts";
import type { Session } from "./session/session.ts";

export interface Machines {
  readonly local: LocalHost | undefined;
  readonly guests: readonly Guest[];
  /** Undefined when canonical time is the guests' own: files of one machine. */
  readonly hostClock: HostClock | undefined;
  /** --resume's file. */
  readonly resume: ResumeFile | undefined;
  /** What a guest's alignment has to do by time: pings, re-reading KVM's offset. */
  tick(guest: Guest, nowMs: number): void;
  /** Throws SourceError when events of these machines cannot be put on one time line. */
  checkTimeLine(): void;
  /** Names for kernel addresses of a machine's events. */
  symbolsOf(machine: number): SymbolResolver | undefined;
  close(): void;
}

interface Wanted {
  readonly local: WantedEvent[];
  readonly pulled: Map<string, WantedEvent[]>;
}

/** Sorts the events by where they come from; each -e argument is one stage. */
function sortWanted(texts: readonly string[]): Wanted {
  const wanted: Wanted = { local: [], pulled: new Map() };
  texts.forEach((text, stage) => {
    for (const spec of parseHostEvents(text)) {
      const { pull } = spec.attributes;
      if (pull === undefined) {
        wanted.local.push({ stage, spec });
        continue;
      }
      const group = wanted.pulled.get(pull) ?? [];
      group.push({ stage, spec });
      wanted.pulled.set(pull, group);
    }
  });
  return wanted;
}

/** The value of `--tsc-offset`, if it was given. Throws UsageError. */
export function manualOffsetOf({ tscOffset }: Pick<EngineOrder, "tscOffset">): bigint | undefined {
  if (tscOffset === undefined) return undefined;
  try {
    return parseTscOffset(tscOffset);
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof RangeError)) throw error;
    throw new UsageError(
      `Cannot use --tsc-offset ${tscOffset}: wants a 64-bit number`,
      "as cat /sys/kernel/debug/kvm/*/vcpu0/tsc-offset prints it, or in hex: 0xffdafd48df582d22",
    );
  }
}

/** The process that --vm means. Throws VmLookupError and UsageError. */
export function vmPidOf(vm: string | undefined, sources: number): number | undefined {
  if (vm === undefined) return undefined;
  if (sources > 1) {
    throw new UsageError(
      `Cannot use --vm ${vm}: it names one virtual machine, and there are ${sources} sources`,
      "leave it out: the VM behind each source is found by its socket",
    );
  }
  return pidOfVm(vm);
}

/** The file of --resume, if it was given. Throws UsageError, before any output is touched. */
function openResume(
  { resumePath }: EngineOrder,
  targets: readonly { readonly target: PullTarget }[],
): ResumeFile | undefined {
  if (resumePath === undefined) return undefined;
  if (targets.length === 0 || targets.some(({ target }) => target.kind === "file")) {
    throw new UsageError(
      "Cannot use --resume: it is for what guests keep, and wants live sources only",
      "pull= a port of QEMU or a unix socket; recordings can be read again at any time",
    );
  }
  return new ResumeFile(resumePath);
}

class OpenMachines implements Machines {
  readonly local: LocalHost | undefined;
  readonly guests: Guest[] = [];
  readonly resume: ResumeFile | undefined;
  readonly hostClock: HostClock | undefined;

  constructor(order: EngineOrder, session: Session, onStatus: (text: string) => void) {
    const wanted = sortWanted(order.events);
    const manualOffset = manualOffsetOf(order);
    const vmPid = vmPidOf(order.vm, wanted.pulled.size);
    const targets = [...wanted.pulled].map(([text, events]) => ({
      target: parsePullTarget(text),
      events,
    }));
    // Files of one machine alone have that machine's TSC as their time line, without any host.
    const needsHost =
      wanted.local.length > 0 || targets.some(({ target }) => target.kind !== "file");
    const file = targets.find(({ target }) => target.kind === "file")?.target;
    if (needsHost && file !== undefined && manualOffset === undefined) {
      throw new SourceError(
        `Cannot put "${file.name}" on the host's time line: a recording answers no ping`,
        "say --tsc-offset N, or pull all events from recordings of that machine",
      );
    }
    if (needsHost) {
      session.setAnchorOnce(readTsc());
      this.hostClock = new HostClock(session.anchor);
    }
    this.resume = openResume(order, targets);
    try {
      if (wanted.local.length > 0) {
        const machineOf = (pid: number): number =>
          this.guests.find(({ time }) => time?.owner === pid)?.machine ?? 0;
        const wantsProcessIds = [...order.events, order.key ?? ""].some(namesProcessId);
        const options = { ...order, machineOf, wantsProcessIds };
        this.local = new LocalHost(session, wanted.local, this.hostClock!, options, onStatus);
      }
      for (const { target, events } of targets) {
        const source = new Source(target, onStatus);
        if (!source.isFile) onStatus(`Connected to ${source.name}`);
        const machine = this.guests.length + 1;
        const time = needsHost
          ? new GuestTime({
              anchor: session.anchor,
              manualOffset,
              vmPid,
              trustPairs: order.trustPairs,
              source,
              hostClock: this.hostClock!,
              machine,
              onStatus,
            })
          : undefined;
        const isDump = order.command === "dump";
        const printsEvents = order.command !== "multi-trace" || order.thanNs > 0;
        const options = { ...order, isDump, printsEvents, onStatus, resume: this.resume };
        this.guests.push(new Guest(session, machine, source, events, time, options));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  tick(guest: Guest, nowMs: number): void {
    guest.time?.tick(guest.link, nowMs);
    guest.conversion.refresh();
  }

  symbolsOf(machine: number): SymbolResolver | undefined {
    return machine === 0 ? this.local?.symbols : this.guests[machine - 1]?.symbols;
  }

  checkTimeLine(): void {
    if (this.hostClock !== undefined) return;
    const [first, ...rest] = this.guests;
    const other = rest.find(({ hello }) => hello?.bootId !== first?.hello?.bootId);
    if (first === undefined || other === undefined) return;
    throw new SourceError(
      `Cannot put ${first.link.source.name} and ${other.link.source.name} on one time line: ` +
        "they were recorded on different boots or machines",
      "record them in one run, or pull them live",
    );
  }

  close(): void {
    this.local?.close();
    for (const guest of this.guests) {
      guest.time?.close();
      guest.close();
    }
  }
}

/** Connects to every source and opens the host's events. Throws the typed errors of both. */
export function openMachines(
  order: EngineOrder,
  session: Session,
  onStatus: (text: string) => void,
): Machines {
  return new OpenMachines(order, session, onStatus);
}
