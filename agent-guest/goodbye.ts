/** The last frame of a stream. */
import { FrameType } from "../shared/wire/frame.ts";
import type { ByeReason } from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./sink/outlet.ts";

export function sendGoodbye(outlet: Outlet, reason: ByeReason, exitCode: number): void {
  outlet.send(FrameType.BYE, { reason, exitCode, message: "", keep: false });
}
