/** Outlets on descriptors of the test, and what tests do with them. */
import { Outlet, type OutletOptions } from "../../../agent-guest/sink/outlet.ts";
import type { Fd } from "../../../shared/sys/fd.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { type Received, readAll } from "./received.ts";
import type { SocketPair } from "./socket_pair.ts";

export const GATHERED: OutletOptions = { isStaged: false, hasChecksums: false };
export const STAGED: OutletOptions = { isStaged: true, hasChecksums: false };
export const FILE: OutletOptions = { isStaged: false, hasChecksums: true };

/** Drains both ends until nothing waits. */
export function settle(outlet: Outlet, pair: SocketPair, into: Received): void {
  do readAll(pair, into);
  while (!outlet.flush() && outlet.failure === undefined);
  readAll(pair, into);
}

/** A control message that carries a number. */
export function sendNumber(outlet: Outlet, number: number): void {
  outlet.send(FrameType.PROGRESS, { tsc: BigInt(number) });
}

export function openOutlet(fd: Fd, options: OutletOptions): Outlet {
  return new Outlet(fd, "the test", 1, options);
}
