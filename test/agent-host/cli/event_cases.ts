/** Wrong events on agent-host's command line, and what each gets: for command_line.test.ts. */
import { EXIT } from "../../../shared/cli/failure.ts";

export interface Case {
  readonly name: string;
  readonly args: readonly string[];
  readonly code: number;
  /** Of the one line, behind "agent-host: ERROR: ". */
  readonly message: RegExp;
  readonly hint?: RegExp;
  /** The text that is shown, and what the caret points at in it. */
  readonly caret?: readonly [shown: string, at: string];
}

export const SWITCH = "sched:sched_switch";
export const WAKEUP = "sched:sched_wakeup//key=pid/";
/** With it a command line that is taken after all ends by itself. */
export const ONE = ["-N", "1"];

export const EVENT_CASES: readonly Case[] = [
  {
    name: "an unknown event",
    args: ["trace", "-e", "sched:sched_swich", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot find event "sched:sched_swich": this kernel has no such tracepoint$/,
    hint: /sched:sched_switch/,
  },
  {
    name: "the name of a system alone",
    args: ["trace", "-e", "irq", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse event: "irq" is no event, wants SYSTEM:NAME$/,
    hint: /^did you mean irq:\*\?$/,
    caret: ["irq", "irq"],
  },
  {
    name: "an event without its system",
    args: ["trace", "-e", "sched_process_exec", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse event: "sched_process_exec" is no event, wants SYSTEM:NAME$/,
    hint: /^did you mean sched:sched_process_exec/,
    caret: ["sched_process_exec", "sched_process_exec"],
  },
  {
    name: "a missing slash after the filter",
    args: ["trace", "-e", `${SWITCH}/prev_pid==1`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse event: "\/" is missing after the filter$/,
    caret: [`${SWITCH}/prev_pid==1`, ""],
  },
  {
    name: "an unknown attribute",
    args: ["trace", "-e", `${SWITCH}//nosuchattr=1/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse event: unknown attribute "nosuchattr", knows push pull key/,
    caret: [`${SWITCH}//nosuchattr=1/`, "nosuchattr"],
  },
  {
    name: "a quote that is never closed",
    args: ["trace", "-e", `${SWITCH}//pull="9900/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse event: " is never closed$/,
    caret: [`${SWITCH}//pull="9900/`, '"9900'],
  },
  {
    name: "a key with a syntax error",
    args: ["multi-trace", "-e", `${SWITCH}//key="(prev_pid>>2"/`, "-e", WAKEUP, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse expression: /,
    caret: ["(prev_pid>>2", ""],
  },
  {
    name: "a key with an unknown variable",
    args: ["multi-trace", "-e", `${SWITCH}//key="prev_pid+nosuch"/`, "-e", WAKEUP, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse expression: unknown variable "nosuch"$/,
    hint: /prev_pid/,
    caret: ["prev_pid+nosuch", "nosuch"],
  },
  {
    name: "a key that compares a misspelt field with text",
    args: ["multi-trace", "-e", `${SWITCH}//key=prev_com=="x"/`, "-e", WAKEUP, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse expression: unknown variable "prev_com"$/,
    hint: /^did you mean prev_comm/,
    caret: ['prev_com=="x"', "prev_com"],
  },
  {
    name: "a bad -k",
    args: ["multi-trace", "-e", SWITCH, "-e", WAKEUP, "-k", "common_pid +* 2", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot parse expression: /,
    caret: ["common_pid +* 2", "* 2"],
  },
  {
    name: "a filter on a field that there is not",
    args: ["trace", "-e", `${SWITCH}/prev_pid>0&&nofield==1/`, ...ONE],
    code: EXIT.USAGE,
    message:
      /^Cannot set filter "prev_pid>0&&nofield==1" of sched:sched_switch: the kernel refuses it \(Field not found\), and as a C expression it is wrong as well: unknown variable "nofield"$/,
    hint: /there are common_type/,
    caret: ["prev_pid>0&&nofield==1", "nofield"],
  },
  {
    name: "a filter on a misspelt text field",
    args: ["trace", "-e", `${SWITCH}/prev_com=="x"/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot set filter .* \(Field not found\), .*: unknown variable "prev_com"$/,
    hint: /^did you mean prev_comm/,
    caret: ['prev_com=="x"', "prev_com"],
  },
  ...["prev_pid==1 and prev_pid==2", "prev_pid==1 prev_pid==2"].map(
    (filter): Case => ({
      name: `the filter ${filter}`,
      args: ["trace", "-e", `${SWITCH}/${filter}/`, ...ONE],
      code: EXIT.USAGE,
      message: /^Cannot set filter ".*" of .*: the kernel refuses it .*, and as a C expression it/,
      hint: /joins comparisons by && \|\|/,
      caret: [filter, filter.slice("prev_pid==1 ".length)],
    }),
  ),
  {
    name: "a filter with a syntax error",
    args: ["trace", "-e", `${SWITCH}/prev_pid==/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot set filter "prev_pid==" of sched:sched_switch: the kernel refuses it .*: /,
    caret: ["prev_pid==", ""],
  },
  {
    name: "a filter that assigns",
    args: ["trace", "-e", `${SWITCH}/prev_pid=1/`, ...ONE],
    code: EXIT.USAGE,
    message: /the kernel refuses it .*, and as a C expression .*: a filter assigns nothing$/,
    hint: /"=="/,
    caret: ["prev_pid=1", "prev_pid=1"],
  },
  {
    name: "a filter of 117,000 characters",
    args: ["trace", "-e", `${SWITCH}/${"prev_pid==1||".repeat(9000)}prev_pid==2/`, ...ONE],
    code: EXIT.USAGE,
    message:
      /^Cannot set filter "prev_pid==1\|\|.*\.\.\." of .*: 117011 characters, wanted at most 1024$/,
  },
  {
    name: "an attribute with a typo",
    args: ["trace", "-e", `${SWITCH}//alais=x/`, ...ONE],
    code: EXIT.USAGE,
    message: /unknown attribute "alais" \(did you mean alias\?\), knows push pull key/,
    caret: [`${SWITCH}//alais=x/`, "alais"],
  },
  {
    name: "a division without parentheses",
    args: ["trace", "-e", `${SWITCH}/prev_pid/2==1/`, ...ONE],
    code: EXIT.USAGE,
    message: /unknown attribute "2==1\/" \(a "\/" of an expression wants parentheses around it\)/,
    caret: [`${SWITCH}/prev_pid/2==1/`, "2==1"],
  },
  {
    name: "-C with pulled events only",
    args: ["trace", "-e", "irq:*//pull=9900/", "-C", "0", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot use -C: it selects what this machine samples, and all events are pulled$/,
    hint: /cpus=/,
  },
  {
    name: "-t with pulled events only",
    args: ["trace", "-e", "irq:*//pull=9900/", "-t", "1", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot use -t: it selects what this machine samples/,
  },
  {
    name: "cpus= of no list",
    args: ["trace", "-e", `${SWITCH}//cpus=first/`, ...ONE],
    code: EXIT.USAGE,
    message: /attribute "cpus" wants CPUs as 0-3,8$/,
    caret: [`${SWITCH}//cpus=first/`, "first"],
  },
  {
    name: "cpus= that are not online",
    args: ["trace", "-e", `${SWITCH}//cpus=8191/`, ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot sample CPU 8191: not online, wants some of 0/,
  },
  {
    name: "cpus= outside -C",
    args: ["trace", "-e", `${SWITCH}//cpus=1/`, "-C", "0", ...ONE],
    code: EXIT.USAGE,
    message: /^Cannot sample sched:sched_switch on CPU 1: the run is limited to CPU 0$/,
  },
];
