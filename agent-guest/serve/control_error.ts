/** Why a host's request is not carried out, as ControlReply tells it. */
import { EXIT, failureOf } from "../../shared/cli/failure.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { ErrorCode, type Error as WireError } from "../../shared/wire/gen/vmspan/v1/channel.ts";

/** A refusal of ours: over a limit, not allowed, no sense in it. */
export class ControlError extends Error {
  override readonly name = "ControlError";
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint: string) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  UnknownEventError: ErrorCode.UNKNOWN_EVENT,
  FilterError: ErrorCode.BAD_FILTER,
  EventSyntaxError: ErrorCode.BAD_REQUEST,
  TracefsError: ErrorCode.UNSUPPORTED,
  ElfError: ErrorCode.BAD_REQUEST,
};

function codeOf(error: unknown): ErrorCode {
  if (error instanceof ControlError) return error.code;
  if (error instanceof SysError) {
    const isRefused = error.code === "EPERM" || error.code === "EACCES";
    return isRefused ? ErrorCode.PERMISSION : ErrorCode.SYSTEM;
  }
  return CODES[(error as Error | undefined)?.name ?? ""] ?? ErrorCode.SYSTEM;
}

/** What the host is told of whatever was thrown. */
export function controlErrorOf(error: unknown): WireError {
  const { message, hint, text, position } = failureOf(error);
  return { code: codeOf(error), message, hint: hint ?? "", text: text ?? "", position };
}

/** Whether that is a mistake of ours, for the guest's own log: nothing that a host can ask is. */
export function isBug(error: unknown): boolean {
  return !(error instanceof ControlError) && failureOf(error).exitCode === EXIT.BUG;
}
