/** The virtual machines of a host by pid, name and UUID: texts by hand, and a real QEMU. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  isNamed,
  listVmms,
  parseDomainStatus,
  parseQemuCommandLine,
  pidOfVm,
  type VmPlaces,
} from "../../../agent-host/align/vm_lookup.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { findProgram } from "../../vm/prerequisites.ts";
import { Workspace } from "../../vm/workspace.ts";

const UUID = "C7A5FDBD-EDAF-9455-926A-D65C16DB1809";
const STATUS = `<!--
WARNING: THIS IS AN AUTO-GENERATED FILE.
-->
<domstatus state='running' reason='booted' pid='26030'>
  <monitor path='/var/lib/libvirt/qemu/domain-1-mail/monitor.sock' type='unix'/>
  <domain type='kvm' id='1'>
    <name>m&amp;m &lt;2&gt;</name>
    <uuid>11111111-2222-3333-4444-555555555555</uuid>
  </domain>
</domstatus>
`;

describe("parseQemuCommandLine()", () => {
  for (const [what, words, name, uuid] of [
    ["libvirt", ["/usr/bin/qemu-system-x86_64", "-name", "guest=web 1,debug-threads=on"], "web 1"],
    ["plain", ["qemu-system-x86_64", "-name", "db", "-uuid", UUID], "db", UUID.toLowerCase()],
    ["two dashes", ["/usr/libexec/qemu-kvm", "--name", "a,,b,process=x"], "a,b"],
    ["guest= later", ["qemu-kvm", "-name", "debug-threads=on,guest=late"], "late"],
    ["no guest=", ["qemu-kvm", "-name", "debug-threads=on"], undefined],
    ["an = in it", ["qemu-kvm", "-name", "a=b"], "a=b"],
    ["nameless", ["kvm", "-m", "512"], undefined],
  ] as const) {
    test(`reads ${what}`, () => {
      expect(parseQemuCommandLine(`${words.join("\0")}\0`)).toEqual({ name, uuid });
    });
  }

  test("refuses other programs, and matches by name or UUID", () => {
    expect(parseQemuCommandLine("vim\0-name\0db\0")).toBeUndefined();
    expect(parseQemuCommandLine("/opt/qemu/bin/tool\0-name\0db\0")).toBeUndefined();
    expect(parseQemuCommandLine("")).toBeUndefined();
    const identity = parseQemuCommandLine(`qemu-system-x86_64\0-name\0db\0-uuid\0${UUID}\0`)!;
    const wanted = ["db", UUID, UUID.replaceAll("-", ""), "d", ""];
    expect(wanted.map((text) => isNamed(identity, text))).toEqual([true, true, true, false, false]);
  });
});

describe("parseDomainStatus()", () => {
  test("reads libvirt's name and UUID, and nothing from other text", () => {
    expect(parseDomainStatus(STATUS)).toEqual({
      name: "m&m <2>",
      uuid: "11111111-2222-3333-4444-555555555555",
    });
    expect(parseDomainStatus("")).toEqual({ name: undefined, uuid: undefined });
  });

  test("takes any text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => parseDomainStatus(`<name>${text}`)).not.toThrow();
        expect(() => parseQemuCommandLine(`kvm\0-name\0${text}`)).not.toThrow();
      }),
    );
  });
});

describe("a made-up machine", () => {
  let root = "";
  let places: VmPlaces;

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "procfs-"));
    const [procfs, kvmDebugfs, libvirt] = ["proc", "kvm", "libvirt"].map((name) =>
      join(root, name),
    );
    places = { procfs: procfs!, kvmDebugfs: kvmDebugfs!, libvirt: [libvirt!] };
    const processes: Record<number, string> = {
      26027: "qemu-system-x86_64\0-name\0db\0",
      26028: "kvm\0-name\0web\0",
      26029: `kvm\0-name\0web\0-uuid\0${UUID}\0`,
      26030: "/usr/local/bin/vmm\0--config\0x\0",
      26031: "/usr/bin/firecracker\0",
      26032: "bash\0",
      26033: "",
    };
    for (const [pid, cmdline] of Object.entries(processes)) {
      mkdirSync(join(places.procfs, pid), { recursive: true });
      writeFileSync(join(places.procfs, pid, "cmdline"), cmdline);
    }
    mkdirSync(join(places.kvmDebugfs, "26031-11"), { recursive: true });
    mkdirSync(libvirt!);
    writeFileSync(join(libvirt!, "mail.pid"), "26030\n");
    writeFileSync(join(libvirt!, "mail.xml"), STATUS);
    writeFileSync(join(libvirt!, "old.pid"), "99999\n");
    // libvirtd itself, which has no domain's status.
    writeFileSync(join(libvirt!, "driver.pid"), "26032\n");
  });
  afterAll(() => rmSync(root, { recursive: true }));

  test("listVmms() finds QEMU, libvirt's and whoever has a VM of KVM's", () => {
    expect(listVmms(places)).toMatchObject([
      { pid: 26027, name: "db", program: "qemu-system-x86_64" },
      { pid: 26028, name: "web" },
      { pid: 26029, name: "web", uuid: UUID.toLowerCase() },
      { pid: 26030, name: "m&m <2>", program: "vmm" },
      { pid: 26031, name: undefined, program: "firecracker" },
    ]);
  });

  test("pidOfVm() takes a process id, a name and a UUID", () => {
    expect(pidOfVm("26032", places)).toBe(26032);
    expect(pidOfVm("db", places)).toBe(26027);
    expect(pidOfVm("m&m <2>", places)).toBe(26030);
    expect(pidOfVm(UUID, places)).toBe(26029);
  });

  test("pidOfVm() lists what there is when the name is unknown or means several", () => {
    expect(() => pidOfVm("web", places)).toThrow(
      'Cannot choose virtual machine "web": 2 have this name or UUID: 26028 ("web"), ' +
        `26029 ("web", ${UUID.toLowerCase()})`,
    );
    expect(() => pidOfVm("nobody", places)).toThrow(
      /^Cannot find virtual machine "nobody": there are 26027 \("db"\), .* 26031 \(firecracker\)$/,
    );
    expect(() => pidOfVm("4711", places)).toThrow('process or virtual machine "4711"');
    const empty = { procfs: join(root, "libvirt"), kvmDebugfs: join(root, "none"), libvirt: [] };
    expect(() => pidOfVm("x", empty)).toThrow("no virtual machine is seen on this machine");
  });
});

const qemu = findProgram("qemu-system-x86_64");
if (qemu === undefined) console.warn("skipped: --vm with a real QEMU: it is not installed");

describe.skipIf(qemu === undefined)("a running QEMU", () => {
  test("pidOfVm() finds it by name and by UUID", async () => {
    const workspace = new Workspace();
    try {
      const name = `vmspan,,lookup ${process.pid}`;
      const uuid = crypto.randomUUID();
      const args = ["-name", `guest=${name},debug-threads=on`, "-uuid", uuid];
      const machine = ["-M", "none", "-S", "-nodefaults", "-display", "none", "-accel", "tcg"];
      const child = workspace.spawn(qemu!, [...machine, ...args], { stdio: "ignore" });
      // setpriv, which starts it, is no QEMU yet.
      const cmdline = (): string => readFileSync(`/proc/${child.pid}/cmdline`, "utf8");
      await waitUntil(() => cmdline().startsWith(qemu!), 10_000, "QEMU to run");
      expect(pidOfVm(name.replace(",,", ","))).toBe(child.pid!);
      expect(pidOfVm(uuid.toUpperCase())).toBe(child.pid!);
      expect(pidOfVm(`${child.pid}`)).toBe(child.pid!);
    } finally {
      await workspace.dispose();
    }
  });
});
