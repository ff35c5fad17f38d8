/**
 * What multi-trace does as asked, and is probably not what was meant:
 *
 *   HINT: without key= events of host and guest 1 are paired by equal CPU numbers, ...
 *   HINT: untraced events are only shown by --detail: sched:sched_switch is sampled in vain
 */
import type { EngineOrder } from "./protocol.ts";
import { machineName } from "./session/machine_name.ts";
import type { SessionEvent } from "./session/session_event.ts";

/** Hints about a session's events; none for a command that pairs nothing. */
export function pairingHints(order: EngineOrder, events: readonly SessionEvent[]): string[] {
  if (order.command !== "multi-trace") return [];
  const hints: string[] = [];
  const isPaired = ({ spec }: SessionEvent): boolean => spec.attributes.untraced !== true;
  const keyless = events.filter(
    (event) => isPaired(event) && event.spec.attributes.key === undefined,
  );
  const machines = new Set(keyless.map(({ machine }) => machine));
  if (order.key === undefined && machines.size > 1) {
    const names = [...machines].map((machine) => machineName(machine)).join(" and ");
    const what = order.pid > 0 ? "thread ids" : "CPU numbers";
    hints.push(
      `HINT: without key= events of ${names} are paired by equal ${what}, which mean different ` +
        "things there; key=_vcpu is the same vCPU on both sides",
    );
  }
  const vain = events.find(({ spec: { attributes } }) => {
    return attributes.untraced === true && attributes.trigger !== true;
  });
  if (vain !== undefined && order.detail === undefined) {
    hints.push(
      `HINT: untraced events are only shown by --detail: ${vain.system}:${vain.name} ` +
        "is sampled in vain",
    );
  }
  return hints;
}
