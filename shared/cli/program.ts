/**
 * The command line that both agents have in common: -V, -h, a suggestion after a typing error, and
 * errors that are thrown instead of printed. An option's default is shown as it would be typed:
 *
 *   -e, --event <EVENT>       SYSTEM:NAME[/FILTER/ATTR/...], repeatable
 *   -m, --mmap-pages <PAGES>  ring of each CPU in 4 KiB pages (default: 256)
 */
import { Command, type Option } from "commander";
import { printOut } from "./output.ts";
import { versionLine } from "./version.ts";

/** commander shows the value as JSON, and "[]" for options that may be repeated. */
function optionDescription({ description, defaultValue }: Option): string {
  return typeof defaultValue === "string"
    ? `${description} (default: ${defaultValue})`
    : description;
}

/** A program without commands yet. Throws CommanderError for --help, --version and mistakes. */
export function newProgram(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(versionLine(name), "-V, --version")
    .helpOption("-h, --help")
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ optionDescription })
    .configureOutput({ writeOut: printOut, outputError: () => {} });
}
