/**
 * Runs a campaign in a process of its own, whose memory is then the campaign's, and says how it
 * went in one line:
 *
 *   bun test/fuzz/fuzz.ts records 1000000 7
 *   {"target":"records","corpus":23,"inputs":1000000,"values":191409,"errors":808614,
 *    "perSecond":63416,"slowestMs":24.9,"residentBytesMax":78131200}
 *
 * An input that fails is shown in hex: it belongs into the corpus.
 */
import { runCampaign, type Target } from "./campaign.ts";
import { control } from "./targets/control.ts";
import { formats } from "./targets/formats.ts";
import { frames } from "./targets/frames.ts";
import { records } from "./targets/records.ts";

const TARGETS: Readonly<Record<string, () => Target>> = { frames, records, formats, control };

const [name = "", inputs = "20000", seed = "1"] = process.argv.slice(2);
const open = TARGETS[name];
if (open === undefined) {
  console.error(`Cannot fuzz "${name}": wants one of ${Object.keys(TARGETS).join(", ")}`);
  process.exit(2);
}
const target = open();
try {
  console.log(JSON.stringify(runCampaign(target, Number(inputs), Number(seed))));
} finally {
  target.close?.();
}
