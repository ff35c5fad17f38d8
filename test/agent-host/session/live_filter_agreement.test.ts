/**
 * One filter, two readers: what the kernel lets pass and what our C expressions do must be the same
 * events. Each filter runs twice on this thread's events, as it is and with a part that no kernel
 * takes, so that agent-host has to run it; all of them in one run.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { SYS } from "../../../shared/sys/abi.ts";
import { addressOf, cString, syscall } from "../../../shared/sys/syscall.ts";
import { NO_TRACING, ownTid } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { JsonOutput, startHost } from "../support/live.ts";

const PRCTL = 157;
const PR_SET_NAME = 15;
const GETPRIORITY = 140;
/** Every kernel refuses it, and it is true. */
const OURS = "1+0==1";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const NAMES = ["virtio0-input.3", "virtio0-output", "a", "", "a*b", "a[1]", "kvm", "kvm/0", "KVM"];

/** System calls whose results are known: 0 and more, and small negative numbers. */
function callAll(): void {
  for (const [i, name] of NAMES.entries()) {
    const text = cString(name);
    syscall(PRCTL, PR_SET_NAME, addressOf(text), 0, 0, 0, 0);
    // -9 EBADF, -22 EINVAL, and 20 minus the nice value.
    syscall(SYS.close, 1_000_000 + i, 0, 0, 0, 0, 0);
    syscall(GETPRIORITY, 77, 0, 0, 0, 0, 0);
    syscall(GETPRIORITY, 0, 0, 0, 0, 0, 0);
  }
  const back = cString("bun");
  syscall(PRCTL, PR_SET_NAME, addressOf(back), 0, 0, 0, 0);
}

interface Passed {
  readonly theirs: readonly unknown[];
  readonly ours: readonly unknown[];
}

/** For each filter the fields of the events that each reader let pass, of one run. */
async function passed(
  event: string,
  base: string,
  filters: readonly string[],
): Promise<{ readonly of: Passed[]; readonly stderr: string }> {
  const events = filters.flatMap((filter, i) => {
    const whole = base === "" ? filter : `(${base}) && (${filter})`;
    return [
      ...["-e", `${event}/${whole}/alias=kernel${i}/`],
      ...["-e", `${event}/(${whole}) && ${OURS}/alias=ours${i}/`],
    ];
  });
  const host = await startHost(workspace, ["trace", ...events, "-t", `${ownTid()}`, "--json"]);
  callAll();
  expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
  const shown = new JsonOutput(host.stdout).objects.filter(({ type }) => type === "event");
  const fieldsOf = (alias: string): unknown[] =>
    shown.filter((each) => String(each.event).endsWith(`:${alias}`)).map(({ fields }) => fields);
  const of = filters.map((_, i) => ({
    theirs: fieldsOf(`kernel${i}`),
    ours: fieldsOf(`ours${i}`),
  }));
  return { of, stderr: host.stderr };
}

const RESULTS = "id==3||id==140";
const NUMBER_FILTERS = [
  "ret==-9",
  "ret!=-9",
  "ret<0",
  "ret<=-9",
  "ret>-22",
  "ret>=-9 && ret<=0x14",
  "ret & 0x10",
  "ret==-9 || ret==-22",
  "!(ret==-9)",
  "id==3 || id==140 && ret>0",
  "(id==3 || id==140) && ret>0",
  "ret == -0x9",
] as const;

/** Filters on a name, and which names they mean. */
const TEXT_FILTERS: readonly (readonly [string, (name: string) => boolean])[] = [
  ['newcomm=="a"', (name) => name === "a"],
  ['newcomm!="a"', (name) => name !== "a"],
  ['newcomm~"virtio0-*"', (name) => name.startsWith("virtio0-")],
  ['newcomm~"*[p]ut*"', (name) => name.includes("put")],
  ['newcomm~"?"', (name) => name.length === 1],
  ['newcomm~"a?b"', (name) => /^a.b$/.test(name)],
  ['newcomm~"*[0-9]"', (name) => /[0-9]$/.test(name)],
  ['newcomm~"kvm*"', (name) => name.startsWith("kvm")],
  ['newcomm~"[!v]*"', (name) => /^[^v]/.test(name)],
  ['newcomm==""', (name) => name === ""],
];

/**
 * In an array of fixed size the kernel looks for *x* behind the end of the text as well, where the
 * bytes of an older and longer name are, and for *x at the end of the array instead of the text's.
 */
const WRONG_IN_THE_KERNEL: readonly (readonly [string, (name: string) => boolean])[] = [
  ['newcomm~"*put*"', (name) => name.includes("put")],
  ['newcomm~"*put"', (name) => name.endsWith("put")],
];

const namesOf = (fields: readonly unknown[]): string[] =>
  fields.map((each) => (each as { newcomm: string }).newcomm);

describe.skipIf(NO_TRACING !== "")("the kernel and agent-host let the same events pass", () => {
  test("by filters on numbers", async () => {
    const { of, stderr } = await passed("raw_syscalls:sys_exit", RESULTS, NUMBER_FILTERS);
    NUMBER_FILTERS.forEach((filter, i) => {
      const { theirs, ours } = of[i]!;
      expect([filter, ...ours]).toEqual([filter, ...theirs]);
      expect(theirs.length).toBeGreaterThan(0);
    });
    // Ours were refused, and the others were not.
    expect(stderr.match(/the kernel refuses the filter/g)).toHaveLength(NUMBER_FILTERS.length);
  });

  test("by filters on text, and these are the ones that are meant", async () => {
    const filters = TEXT_FILTERS.map(([filter]) => filter);
    const { of, stderr } = await passed("task:task_rename", "", filters);
    TEXT_FILTERS.forEach(([filter, isMeant], i) => {
      const { theirs, ours } = of[i]!;
      expect([filter, ...ours]).toEqual([filter, ...theirs]);
      expect([filter, ...namesOf(ours)]).toEqual([filter, ...[...NAMES, "bun"].filter(isMeant)]);
    });
    expect(stderr).not.toContain("the kernel looks for");
    const count = NUMBER_FILTERS.length + TEXT_FILTERS.length;
    console.log(`filters compared with the kernel's: ${count}, equal: ${count}`);
  });

  test("but for globs where the kernel reads behind the text, and a hint says so", async () => {
    const filters = WRONG_IN_THE_KERNEL.map(([filter]) => filter);
    const { of, stderr } = await passed("task:task_rename", "", filters);
    WRONG_IN_THE_KERNEL.forEach(([filter, isMeant], i) => {
      const { theirs, ours } = of[i]!;
      expect(namesOf(ours)).toEqual([...NAMES, "bun"].filter(isMeant));
      expect(stderr).toContain(`HINT: the kernel looks for ${filter} of task:task_rename`);
      console.log(`${filter}: the kernel takes ${JSON.stringify(namesOf(theirs))}`);
    });
  });
});
