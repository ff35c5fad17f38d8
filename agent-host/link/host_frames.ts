/** Frames by the direction in which they travel. */
import { FrameType } from "../../shared/wire/frame.ts";

/** What a host says to a guest, and never hears. */
export const HOST_FRAMES: ReadonlySet<number> = new Set([
  FrameType.ATTACH,
  FrameType.ACK,
  FrameType.PING,
  FrameType.CONTROL,
]);
