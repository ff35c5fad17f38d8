/**
 * The campaigns against what reads bytes of a stranger: the corpus and 20,000 changed inputs each,
 * ten million at night, in processes of their own. An input that is neither a value nor a typed
 * error, costs more than 50 ms of CPU, or makes the process hold 256 MB, fails; it is shown in hex.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { perNight } from "../nightly.ts";
import { NO_TRACING } from "../shared/event/kernel.ts";
import { withDeadline } from "../vm/deadline.ts";
import { ended, Workspace } from "../vm/workspace.ts";
import { RESIDENT_BYTES_MAX, type Report } from "./campaign.ts";

const PROGRAM = join(import.meta.dirname, "fuzz.ts");
/** Two to twenty minutes each, at 9,000 to 100,000 a second. */
const NIGHTLY_INPUTS = 10_000_000;
const USUAL_INPUTS = 20_000;
const DEADLINE_MS = perNight(480_000, 2 * 3_600_000);
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** A campaign of its own seed each day; the number is shown with what fails. */
async function runTarget(name: string, inputs: number): Promise<Report> {
  const seed = Math.floor(Date.now() / 86_400_000) * 100_000_000;
  const child = workspace.spawn(process.execPath, [PROGRAM, name, String(inputs), String(seed)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout?.on("data", (chunk: Uint8Array) => {
    out += chunk.toString();
  });
  child.stderr?.on("data", (chunk: Uint8Array) => {
    err += chunk.toString();
  });
  await withDeadline(ended(child), DEADLINE_MS, `the campaign against ${name}`);
  if (child.exitCode !== 0) throw new Error(err.slice(0, 200_000));
  return JSON.parse(out);
}

function sentence({ target, inputs, corpus, values, errors, ...rest }: Report): string {
  const { perSecond, slowestMs, residentBytesMax } = rest;
  return (
    `${target}: ${inputs} inputs and ${corpus} of the corpus: ${values} values, ${errors} errors; ` +
    `${perSecond} a second, the slowest ${slowestMs.toFixed(1)} ms, ${residentBytesMax >> 20} MiB`
  );
}

async function expectSound(name: string): Promise<void> {
  const inputs = perNight(USUAL_INPUTS, NIGHTLY_INPUTS);
  const report = await runTarget(name, inputs);
  console.log(sentence(report));
  expect(report.residentBytesMax).toBeLessThan(RESIDENT_BYTES_MAX);
  expect(report.values + report.errors).toBe(inputs + report.corpus);
  expect(report.corpus).toBeGreaterThan(10);
  // Mutations that are all refused at the door, or all let through, would prove little.
  expect(Math.min(report.values, report.errors)).toBeGreaterThan(inputs / 100);
}

const TIMEOUT_MS = DEADLINE_MS + 10_000;

describe("bytes of a stranger", () => {
  for (const name of ["frames", "records", "formats"] as const) {
    test.concurrent(
      `${name}: any input is a value or a typed error`,
      () => expectSound(name),
      TIMEOUT_MS,
    );
  }

  test.concurrent.skipIf(NO_TRACING !== "")(
    "control: whatever a host says is obeyed, refused or counted",
    () => expectSound("control"),
    TIMEOUT_MS,
  );

  test("fuzz.ts of an unknown target says which there are", async () => {
    await expect(runTarget("nonsense", 1)).rejects.toThrow(
      'Cannot fuzz "nonsense": wants one of frames, records, formats, control',
    );
  });
});
