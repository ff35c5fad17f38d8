/**
 * The command `list` of both agents: the events of this machine, or of whatever else is handed in.
 * Its output is made for pipes: sorted, one event a line, the name first, no pager.
 */
import process from "node:process";
import type { Command } from "commander";
import {
  type ListedEvent,
  type ListOptions,
  selectListed,
  writeListing,
} from "../event/listing.ts";
import { OWN_PROBE_GROUP } from "../event/probe.ts";
import { Tracefs } from "../tracefs/tracefs.ts";
import { Output, OutputClosedError } from "./output.ts";

/** Written at once. */
const PIECE_CHARS = 32 * 1024;
const STDOUT = 1;

export interface ListCommandOptions {
  readonly verbose?: true;
  readonly json?: true;
  readonly unrendered?: true;
}

/** Events that perf can open on this machine, but for the probes of running agents. */
export function localEvents(tracefs: Tracefs): ListedEvent[] {
  return tracefs
    .systems()
    .filter((system) => system !== "ftrace" && !OWN_PROBE_GROUP.test(system))
    .flatMap((system) =>
      tracefs.eventsOf(system).map((name) => ({
        system,
        name,
        formatText: () => tracefs.formatText(system, name),
      })),
    );
}

/** Prints the events that the patterns select. Throws NoEventError, SysError. */
export function printListing(
  events: readonly ListedEvent[],
  patterns: readonly string[],
  { verbose, json, unrendered }: ListCommandOptions,
): void {
  const options: ListOptions = {
    isVerbose: verbose === true,
    isJson: json === true,
    isUnrendered: unrendered === true,
  };
  const out = new Output(STDOUT, "stdout");
  let text = "";
  let lines = 0;
  const flush = (): void => {
    out.write(new TextEncoder().encode(text));
    text = "";
  };
  try {
    const selected = selectListed(events, patterns);
    writeListing(selected, options, (piece) => {
      lines++;
      text += piece;
      if (text.length > PIECE_CHARS) flush();
    });
    if (text !== "") flush();
    // Nothing at all would leave the question open whether anything was looked at.
    if (lines === 0 && options.isUnrendered) {
      process.stderr.write(`all print formats of ${selected.length} events are in use\n`);
    }
  } catch (error) {
    // The reader has seen enough (`| head`).
    if (!(error instanceof OutputClosedError)) throw error;
  }
}

/** Lists this machine's events. */
export function listLocal(patterns: readonly string[], options: ListCommandOptions): void {
  printListing(localEvents(Tracefs.open()), patterns, options);
}

/** The command with what both agents have in common; its action is the caller's. */
export function addListCommand(program: Command): Command {
  return program
    .command("list")
    .argument("[PATTERN...]", "kvm:* irq:irq_handler_entry *wake*, or a word that names hold")
    .description("List events with their fields, one a line: what -e can name.")
    .option("-v, --verbose", "id, fields with offset, size, sign and type, print format")
    .option("--json", "print JSON lines, with all of it")
    .option("--unrendered", "only events that are printed as fields, with the reason");
}
