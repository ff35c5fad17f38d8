/**
 * The examples of README.md as values: commands with what they print, out of its ```console blocks,
 * and expressions with their values, out of its tables.
 *
 *   # agent-host list 'irq:irq_*'             a command for a shell, as root
 *   irq:irq_handler_entry  irq name           lines that it prints, among others
 *   ...                                       which are left out
 *
 *   | `<` `<=`, glob `~` | `"a" ~ "[ab]"` | 1 |
 */

export interface ConsoleExample {
  readonly command: string;
  /** Lines that it prints, as README shows them. */
  readonly lines: readonly string[];
}

export interface ValueExample {
  readonly expression: string;
  /** A number, or text in quotes. */
  readonly value: string;
}

/** The commands of a Markdown text, in their order. */
export function consoleExamples(markdown: string): ConsoleExample[] {
  const blocks = [...markdown.matchAll(/^```console\n(.*?)^```$/gms)].map((match) => match[1]!);
  return blocks.flatMap((block) => {
    const examples: { command: string; lines: string[] }[] = [];
    for (const line of block.split("\n").filter((text) => text !== "")) {
      if (line.startsWith("# ")) examples.push({ command: line.slice(2), lines: [] });
      else if (line !== "...") examples.at(-1)?.lines.push(line);
    }
    return examples;
  });
}

/** Expressions with values: rows whose last two cells are `code` and a value. */
export function valueExamples(markdown: string): ValueExample[] {
  const ROW = /^\|.*\| `((?:[^`|]|\\\|)+)` \| ("[^"|]*"|-?\d+) \|$/gm;
  return [...markdown.matchAll(ROW)].map(([, expression, value]) => ({
    expression: expression!.replaceAll("\\|", "|"),
    value: value!,
  }));
}

const NUMBER = "[0-9a-f]+";

function escapeText(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/**
 * What a line of README says of any machine: numbers, addresses and what follows `name=` are its
 * own, and so are the task's name and flags in front of a trace line, and the width of columns.
 */
export function linePattern(line: string): RegExp {
  const trace =
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} (G?) +.{1,16} +\d+ \S{4,5} \[\d{3}\] [\d.]+: /.exec(
      line,
    );
  const head =
    trace === null
      ? "^"
      : String.raw`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} ${trace[1]} +.{1,16} +\d+ \S{4,5} \[\d{3}\] [\d.]+: `;
  const rest = line.slice(trace?.[0].length ?? 0).trimEnd();
  const isRule = /^[- ]+$/.test(rest);
  const body = isRule
    ? "[- ]+"
    : rest
        .split(/( +|\w+=\S+|\b[0-9a-f]*[0-9][0-9a-f]*\b)/)
        .map((part, i) => {
          if (i % 2 === 0) return escapeText(part);
          if (part.startsWith(" ")) return " +";
          const equals = part.indexOf("=");
          if (equals > 0 && trace !== null) return `${escapeText(part.slice(0, equals))}=.*?`;
          return /^[0-9a-f]*[0-9][0-9a-f]*$/.test(part) ? NUMBER : escapeText(part);
        })
        .join("");
  return new RegExp(`${head}\\s*${body}\\s*$`);
}
