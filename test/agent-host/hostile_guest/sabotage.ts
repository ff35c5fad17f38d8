/**
 * Gives agent-host bugs that a guest's bytes lead into, for there is none that we know of:
 *
 *   BUN_OPTIONS=--preload=.../sabotage.ts bun agent-host/main.ts ... --keep-privileges
 *
 * A Lost frame whose place is "serve" has the host trip over it, one whose place is "settle" over
 * that guest from then on. Preloaded by the main thread, it has the engine's Worker preload it too.
 */
import { Guest } from "../../../agent-host/session/guest.ts";
import { GuestLedger } from "../../../agent-host/session/guest_ledger.ts";

if (Bun.isMainThread) {
  const PlainWorker = globalThis.Worker;
  globalThis.Worker = class extends PlainWorker {
    constructor(url: string | URL, options?: WorkerOptions) {
      super(url, { ...options, preload: [import.meta.path] });
    }
  };
} else {
  const spoiled = new Set<GuestLedger>();
  const { settle } = Guest.prototype;
  GuestLedger.prototype.onLost = function (this: GuestLedger, { place }): void {
    if (place === "serve") throw new TypeError("sabotaged\x1b[2J");
    spoiled.add(this);
  };
  Guest.prototype.settle = function (this: Guest): void {
    if (spoiled.has(this.ledger)) throw new RangeError("Cannot settle: sabotaged");
    settle.call(this);
  };
}
