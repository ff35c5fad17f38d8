/** The -e language: the document's command lines, every error with its place, any text at all. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  EventSyntaxError,
  parseEventSpecs,
  SPEC_BYTES_MAX,
  SPEC_EVENTS_MAX,
} from "../../../shared/event/spec.ts";

function parseOne(text: string) {
  const specs = parseEventSpecs(text);
  expect(specs.length).toBe(1);
  return specs[0]!;
}

function syntaxError(text: string): EventSyntaxError {
  try {
    parseEventSpecs(text);
  } catch (error) {
    if (error instanceof EventSyntaxError) return error;
    throw error;
  }
  throw new Error(`Parsed without an error: ${text}`);
}

describe("the command lines of the document", () => {
  test("parseEventSpecs() takes the guest's, section 4.1", () => {
    const text =
      'irq:irq_handler_entry/name~"virtio0-input*"/push="/dev/virtio-ports/org.qemu.perf0"/';
    expect(parseOne(text)).toEqual({
      text,
      system: "irq",
      name: "irq_handler_entry",
      probe: undefined,
      filter: 'name~"virtio0-input*"',
      attributes: { push: "/dev/virtio-ports/org.qemu.perf0" },
    });
  });

  test("parseEventSpecs() takes the host's, section 4.2", () => {
    expect(parseOne("irq:irq_handler_entry//pull=9900/")).toMatchObject({
      system: "irq",
      name: "irq_handler_entry",
      filter: "",
      attributes: { pull: "9900" },
    });
  });

  test("parseEventSpecs() takes both stages of section 4.3", () => {
    const injected =
      'kvm:kvm_msi_set_irq/common_pid==26027/key="(((address>>18)&1)?42:0) + ((address>>12)&0x3f)"/';
    expect(parseOne(injected)).toMatchObject({
      system: "kvm",
      name: "kvm_msi_set_irq",
      filter: "common_pid==26027",
      attributes: { key: "(((address>>18)&1)?42:0) + ((address>>12)&0x3f)" },
    });
    expect(parseOne('irq:irq_handler_entry//pull=9900/key="83-irq+32"/')).toMatchObject({
      filter: "",
      attributes: { pull: "9900", key: "83-irq+32" },
    });
  });
});

describe("parseEventSpecs", () => {
  const accepted: readonly (readonly [string, object])[] = [
    ["sched:sched_switch", { system: "sched", name: "sched_switch", filter: "", attributes: {} }],
    ["sched:sched_wak*", { name: "sched_wak*" }],
    ["kvm:kvm_[em]*", { name: "kvm_[em]*" }],
    ["  irq:irq_handler_entry ", { system: "irq", name: "irq_handler_entry" }],
    ["ext4:ext4_da_write_begin//", { filter: "", attributes: {} }],
    ["a:b/x==1/", { filter: "x==1" }],
    ["a:b/ x == 1 /", { filter: "x == 1" }],
    ["a:b/(x/2)==1/", { filter: "(x/2)==1" }],
    ['a:b/name=="a/b,c"/', { filter: 'name=="a/b,c"' }],
    ["a:b/c=='/'/", { filter: "c=='/'" }],
    ['a:b/name=="say \\"/\\""/', { filter: 'name=="say \\"/\\""' }],
    ["a:b/f(x,y)==(1,2)/", { filter: "f(x,y)==(1,2)" }],
    ["a:b//key=(x/y)/", { attributes: { key: "(x/y)" } }],
    ['a:b//key="x/y"/', { attributes: { key: "x/y" } }],
    ['a:b//key="x==\\"q\\""/', { attributes: { key: 'x=="q"' } }],
    ["a:b//alias=first/key=x+1/", { attributes: { alias: "first", key: "x+1" } }],
    [
      "a:b//stack/untraced/trigger/",
      { attributes: { stack: true, untraced: true, trigger: true } },
    ],
    ["a:b//stack=kernel/", { attributes: { stack: "kernel" } }],
    ["a:b//alias=x/stack=user/", { attributes: { alias: "x", stack: "user" } }],
    ["a:b//max-stack=16/", { attributes: { maxStack: 16 } }],
    ["a:b//cpus=0-3,8/key=x/", { attributes: { cpus: "0-3,8", key: "x" } }],
    ['a:b//cpus="0-3,8"/', { attributes: { cpus: "0-3,8" } }],
    ["a:b//cpus=0-3/role=(x?1:2)/printkey=x/", { attributes: { cpus: "0-3", role: "(x?1:2)" } }],
    ["a:b//push=9900", { attributes: { push: "9900" } }],
    ["a:b//push=[::1]:9900/", { attributes: { push: "[::1]:9900" } }],
    ["a:b//push=/run/x.sock/", { attributes: { push: "/run/x.sock" } }],
    ["a:b//push=/run/x.sock", { attributes: { push: "/run/x.sock" } }],
    [
      "a:b//push=/dev/virtio-ports/org.qemu.perf0/",
      {
        attributes: { push: "/dev/virtio-ports/org.qemu.perf0" },
      },
    ],
    ["a:b//push=/run/a/b/key=x/", { attributes: { push: "/run/a/b", key: "x" } }],
    ["a:b//push=/run/a/stack/", { attributes: { push: "/run/a", stack: true } }],
    ["a:b//push=/run/a/stack=user/", { attributes: { push: "/run/a", stack: "user" } }],
    ["a:b//push=/run/stackpot/", { attributes: { push: "/run/stackpot" } }],
    ["a:b//push=unix:/run/x.sock/", { attributes: { push: "unix:/run/x.sock" } }],
    ["a:b//pull=file:/tmp/x.vms/", { attributes: { pull: "file:/tmp/x.vms" } }],
    ["a:b//pull=./x/y.vms/", { attributes: { pull: "./x/y.vms" } }],
    ["a:b//pull=../y.vms/", { attributes: { pull: "../y.vms" } }],
    ["a:b//push=name.vms/", { attributes: { push: "name.vms" } }],
  ];
  for (const [text, expected] of accepted) {
    test(`parseEventSpecs() takes ${text}`, () => {
      expect(parseOne(text)).toMatchObject(expected);
    });
  }

  test("parseEventSpecs() splits at commas outside of quotes, parentheses and filters", () => {
    const specs = parseEventSpecs("a:b,c:d/f(1,2)/key=(1,2)/,e:f//push=/x/y/,g:h//push=/x/z,i:j");
    expect(specs.map(({ system }) => system)).toEqual(["a", "c", "e", "g", "i"]);
    expect(specs.map(({ text }) => text)).toEqual([
      "a:b",
      "c:d/f(1,2)/key=(1,2)/",
      "e:f//push=/x/y/",
      "g:h//push=/x/z",
      "i:j",
    ]);
    expect(specs[3]!.attributes.push).toBe("/x/z");
  });

  test("parseEventSpecs() lets a filter hold commas: only its slash ends it", () => {
    expect(parseOne("a:b/x==1,y==2/").filter).toBe("x==1,y==2");
  });

  const probes: readonly (readonly [string, object, string])[] = [
    [
      'uprobe:virtio_notify@"/usr/bin/qemu-system-x86_64" vdev=%di:u64 n=%si/common_pid==7/key=vdev/',
      {
        kind: "uprobe",
        target: "virtio_notify",
        file: "/usr/bin/qemu-system-x86_64",
        fetchArguments: "vdev=%di:u64 n=%si",
      },
      "virtio_notify",
    ],
    [
      "kprobe:do_sys_openat2+0x10 dfd=%di",
      { kind: "kprobe", target: "do_sys_openat2+0x10", file: undefined, fetchArguments: "dfd=%di" },
      "do_sys_openat2+0x10",
    ],
    [
      "kretprobe:vfs_read",
      { kind: "kretprobe", target: "vfs_read", file: undefined, fetchArguments: "" },
      "vfs_read",
    ],
    [
      'uretprobe:0x733100@"/bin/x y"   a=$retval   b=%ax',
      {
        kind: "uretprobe",
        target: "0x733100",
        file: "/bin/x y",
        fetchArguments: "a=$retval b=%ax",
      },
      "0x733100",
    ],
    [
      "uprobe:main@a.out",
      { kind: "uprobe", target: "main", file: "a.out", fetchArguments: "" },
      "main",
    ],
  ];
  for (const [text, probe, name] of probes) {
    test(`parseEventSpecs() takes ${text}`, () => {
      expect(parseOne(text)).toMatchObject({ name, probe });
    });
  }

  test("parseEventSpecs() takes a probe behind a comma and a blank", () => {
    const [, second] = parseEventSpecs("a:b, kprobe:vfs_read//alias=r/");
    expect(second).toMatchObject({ system: "kprobe", probe: { kind: "kprobe" } });
    expect(second!.attributes.alias).toBe("r");
  });
});

describe("EventSyntaxError", () => {
  /** Text, part of the message, and what stands at the position (or its offset). */
  const refused: readonly (readonly [string, string, string | number])[] = [
    ["", '"" is no event, wants SYSTEM:NAME', 0],
    ["nocolon", '"nocolon" is no event, wants SYSTEM:NAME', 0],
    ["a:b,", '"" is no event', 4],
    ["a:b,,c:d", '"" is no event', 4],
    ["a:b,nocolon", '"nocolon" is no event', "nocolon"],
    ["a:b c", '"a:b c" is no event', 0],
    ["a:", '"a:" is no event', 0],
    [":b", '":b" is no event', 0],
    ["a:b/x==1", '"/" is missing after the filter', 8],
    ["irq:irq_handler_entry/irq==3", '"/" is missing after the filter', 28],
    ["a:b/x==(1/", '"(" is never closed', "(1/"],
    ["a:b/x==1)/", '")" without "("', ")/"],
    ["a:b/((x)/", '"(" is never closed', "((x"],
    ['a:b/n=="x/', '" is never closed', '"x/'],
    ["a:b/c=='x/", "' is never closed", "'x/"],
    ['a:b/n=="x\\"/', '" is never closed', '"x'],
    ["a:b//nosuch=1/", 'unknown attribute "nosuch", knows push pull key', "nosuch"],
    ["a:b//push=1/nosuch/", 'unknown attribute "nosuch"', "nosuch"],
    ["a:b///", 'unknown attribute "/"', 5],
    ["a:b//=1/", 'unknown attribute "=1/"', "=1"],
    ["a:b//push/", 'attribute "push" wants a value', "push"],
    ["a:b//push=/", 'attribute "push" wants a value', 10],
    ['a:b//key=""/', 'attribute "key" wants a value', '""'],
    ["a:b//stack=1/", 'stack="1" is no part of a stack, wants kernel or user', "1"],
    ["a:b//stack=/", 'stack="" is no part of a stack', 11],
    ["a:b//stack?/", '"/" is missing after attribute "stack"', "?"],
    ["a:b//push=1/push=2/", 'attribute "push" is given twice', "push=2"],
    ["a:b//stack/stack/", 'attribute "stack" is given twice', 11],
    ["a:b//max-stack=4/max-stack=4/", 'attribute "max-stack" is given twice', 17],
    ["a:b//max-stack=0/", "max-stack wants 1 to 127", "0/"],
    ["a:b//max-stack=128/", "max-stack wants 1 to 127", "128"],
    ["a:b//max-stack=x/", "max-stack wants 1 to 127", "x"],
    ["a:b//key=(x/", '"(" is never closed', "(x"],
    ["uprobe:main", '"uprobe:main" names no file, wants uprobe:FUNC@"FILE"', 11],
    ['kprobe:main@"/bin/x"', "names a file, wants kprobe:FUNC [ARG ...]", 20],
    ["uprobe:main@/bin/x", '"uprobe:main@" is no probe, wants uprobe:FUNC@"FILE"', 0],
    ["kprobe:", '"kprobe:" is no probe', 0],
    ["kprobe:f+zz", '"kprobe:f+zz" is no probe', 0],
    ["kprobe:f+1f", '"kprobe:f+1f" is no probe', 0],
  ];
  for (const [text, message, place] of refused) {
    test(`parseEventSpecs() refuses ${JSON.stringify(text)}`, () => {
      const error = syntaxError(text);
      expect(error.message).toStartWith("Cannot parse event: ");
      expect(error.message).toContain(message);
      expect(error.text).toBe(text);
      if (typeof place === "number") expect(error.position).toBe(place);
      else expect(text.slice(error.position)).toStartWith(place);
    });
  }

  test("parseEventSpecs() refuses a text that is too long, without repeating it", () => {
    const error = syntaxError(`a:b/${"x".repeat(SPEC_BYTES_MAX)}/`);
    expect(error.message).toContain(`wants at most ${SPEC_BYTES_MAX}`);
    expect(error.message.length).toBeLessThan(200);
    expect(error.text).toBe("");
  });

  test("parseEventSpecs() refuses too many events", () => {
    const text = new Array(SPEC_EVENTS_MAX + 1).fill("a:b").join(",");
    expect(syntaxError(text).message).toContain(`over ${SPEC_EVENTS_MAX} events in one -e`);
  });

  for (const head of ["x", "kprobe:?", "uprobe:"]) {
    test(`the message about a long ${JSON.stringify(head)}... stays short`, () => {
      expect(syntaxError(head + "x ".repeat(5000)).message.length).toBeLessThan(250);
    });
  }
});

describe("any text", () => {
  const pieces = fc.constantFrom(
    ...["a:b", "irq:*", "kprobe:f", 'uprobe:f@"/x"', "/", "//", ",", '"', "'", "(", ")", "\\"],
    ...["push=", "pull=unix:/x", "key=x", "stack", "max-stack=3", "x==1", " ", "=", "\n", "ü"],
  );
  const texts = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join("")),
  );

  test("parseEventSpecs() gives specs or an EventSyntaxError with a place inside", () => {
    fc.assert(
      fc.property(texts, (text) => {
        try {
          const specs = parseEventSpecs(text);
          // Nothing is dropped: the specs' own texts are the text.
          expect(specs.map((spec) => spec.text).join(",")).toBe(text);
        } catch (error) {
          expect(error).toBeInstanceOf(EventSyntaxError);
          const { position } = error as EventSyntaxError;
          expect(position).toBeGreaterThanOrEqual(0);
          expect(position).toBeLessThanOrEqual(text.length);
        }
      }),
      { numRuns: 2000 },
    );
  });

  const value = fc
    .string({ unit: "binary-ascii", minLength: 1, maxLength: 30 })
    .filter((text) => text.trim() === text);

  test("parseEventSpecs() gives back any quoted value", () => {
    fc.assert(
      fc.property(value, (plain) => {
        const quoted = plain.replace(/[\\"]/g, "\\$&");
        const [spec] = parseEventSpecs(`a:b//alias=q/key="${quoted}"/stack/`);
        expect(spec!.attributes).toEqual({ alias: "q", key: plain, stack: true });
      }),
      { numRuns: 500 },
    );
  });

  test("a long path of slashes is read in one pass", () => {
    const path = "/x".repeat(SPEC_BYTES_MAX / 2 - 20);
    expect(parseOne(`a:b//push=${path}/`).attributes.push).toBe(path);
  });
});
