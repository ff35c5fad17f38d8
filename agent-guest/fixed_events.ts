/** What a host is told that asks an agent for events, which was started with its own. */
import { FrameType } from "../shared/wire/frame.ts";
import { ErrorCode } from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./sink/outlet.ts";

/** `isDump`: it was asked for a dump, by the request `id`. */
export function refuseControl(outlet: Outlet, id: number, isDump: boolean): void {
  const message = "Cannot do what the host asks: this agent was started with its events";
  const hint = `start it as agent-guest ${isDump ? "trace --overwrite" : "serve"}`;
  const error = { code: ErrorCode.UNSUPPORTED, message, hint, text: "", position: 0 };
  outlet.send(FrameType.CONTROL_REPLY, { id, error, events: [], more: false });
}
