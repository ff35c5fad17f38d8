/**
 * The virtual machines of this host, and which of them `--vm PID|NAME|UUID` means.
 *
 *   /proc/26027/cmdline             qemu-system-x86_64 -name guest=web,process=x -uuid c7a5fdbd...
 *   /run/libvirt/qemu/web.pid       26027
 *   /run/libvirt/qemu/web.xml       <domstatus ...><domain type='kvm'><name>web</name>...
 *   /sys/kernel/debug/kvm/26027-11  whatever program it is: it has a KVM virtual machine
 *
 * The parsers are pure; listVmms() and pidOfVm() read those files.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { someProcess, unlessGone } from "../../shared/sys/procfs.ts";
import { KVM_DEBUGFS, listVms } from "./kvm_debugfs.ts";
import { VmLookupError } from "./vm_lookup_error.ts";

/** Name and UUID of a virtual machine. */
export interface VmIdentity {
  readonly name: string | undefined;
  readonly uuid: string | undefined;
}

/** A process that runs a virtual machine. */
export interface Vmm extends VmIdentity {
  readonly pid: number;
  /** File name of the program: "qemu-system-x86_64". */
  readonly program: string;
}

/** Where to look; tests look elsewhere. */
export interface VmPlaces {
  readonly procfs: string;
  readonly kvmDebugfs: string;
  /** Folders of libvirt's NAME.pid and NAME.xml. */
  readonly libvirt: readonly string[];
}

const PLACES: VmPlaces = {
  procfs: "/proc",
  kvmDebugfs: KVM_DEBUGFS,
  libvirt: ["/run/libvirt/qemu", "/var/run/libvirt/qemu"],
};

/** Virtual machines that a message lists. */
const LISTED_MAX = 20;
/** Domains of libvirt that are looked at. */
const DOMAINS_MAX = 4096;

const fileName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/**
 * -name NAME, -name guest=NAME,..., -uuid UUID; one or two dashes. Undefined for a process that is
 * no QEMU.
 */
export function parseQemuCommandLine(cmdline: string): VmIdentity | undefined {
  const words = cmdline.split("\0");
  if (!/^(qemu|kvm)/.test(fileName(words[0] ?? ""))) return undefined;
  const optionValue = (option: string): string | undefined => {
    const at = words.findIndex((word) => word === `-${option}` || word === `--${option}`);
    return at < 0 ? undefined : words[at + 1];
  };
  return {
    name: nameOf(optionValue("name") ?? ""),
    uuid: optionValue("uuid")?.toLowerCase(),
  };
}

/** The guest's name in a value of -name: a comma in it is doubled, a single one ends it. */
function nameOf(value: string): string | undefined {
  const parts = value.match(/(?:[^,]|,,)+/g) ?? [];
  const plain = parts[0]?.includes("=") === false ? parts[0] : undefined;
  const named = parts.find((part) => part.startsWith("guest="))?.slice("guest=".length);
  // An old QEMU, or a name with "=" in it: what stands first is the name.
  const name = named ?? plain ?? (/^(process|debug-threads)=/.test(parts[0] ?? "") ? "" : parts[0]);
  return name === undefined || name === "" ? undefined : name.replaceAll(",,", ",");
}

/** Name and UUID out of libvirt's status of a running domain. */
export function parseDomainStatus(xml: string): VmIdentity {
  const text = (tag: string): string | undefined =>
    new RegExp(`<${tag}>([^<]{1,256})</${tag}>`).exec(xml)?.[1];
  const withoutEntities = (value: string): string =>
    value
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&quot;", '"')
      .replaceAll("&apos;", "'")
      .replaceAll("&amp;", "&");
  const name = text("name");
  return {
    name: name === undefined ? undefined : withoutEntities(name),
    uuid: text("uuid")?.toLowerCase(),
  };
}

/** Whether `wanted` (a name or a UUID) means this virtual machine. */
export function isNamed(identity: VmIdentity, wanted: string): boolean {
  const plain = (uuid: string): string => uuid.toLowerCase().replaceAll("-", "");
  const { name, uuid } = identity;
  return name === wanted || (uuid !== undefined && plain(uuid) === plain(wanted));
}

/** What a process runs; undefined for one that is known to run no virtual machine. */
function vmmOf(
  pid: number,
  domains: ReadonlyMap<number, VmIdentity>,
  isKvm: boolean,
  procfs: string,
) {
  const cmdline = unlessGone(() => readFileSync(`${procfs}/${pid}/cmdline`, "utf8"), "");
  const ours = parseQemuCommandLine(cmdline);
  const libvirts = domains.get(pid);
  if (cmdline === "" || (ours === undefined && libvirts === undefined && !isKvm)) return undefined;
  return {
    pid,
    program: fileName(cmdline.split("\0")[0]!),
    name: libvirts?.name ?? ours?.name,
    uuid: libvirts?.uuid ?? ours?.uuid,
  };
}

/** libvirt's running domains by process id. */
function libvirtDomains(folders: readonly string[]): Map<number, VmIdentity> {
  const domains = new Map<number, VmIdentity>();
  for (const folder of folders) {
    const names = unlessGone(() => readdirSync(folder), []);
    for (const name of names.filter((file) => file.endsWith(".pid")).slice(0, DOMAINS_MAX)) {
      const pid = Number(unlessGone(() => readFileSync(join(folder, name), "latin1"), "").trim());
      if (!Number.isInteger(pid) || pid <= 0) continue;
      const domain = name.slice(0, -".pid".length);
      const xml = unlessGone(() => readFileSync(join(folder, `${domain}.xml`), "utf8"), "");
      // libvirtd's own driver.pid lies there, too.
      if (xml === "") continue;
      const status = parseDomainStatus(xml);
      domains.set(pid, { name: status.name ?? domain, uuid: status.uuid });
    }
  }
  return domains;
}

/** Processes that have a virtual machine of KVM's; none where debugfs cannot be read. */
function kvmPids(root: string): Set<number> {
  try {
    return new Set(listVms(root).map(({ pid }) => pid));
  } catch (error) {
    if (!(error instanceof VmLookupError)) throw error;
    return new Set();
  }
}

/** All virtual machines that can be seen, by process id. */
export function listVmms(places: VmPlaces = PLACES): Vmm[] {
  const domains = libvirtDomains(places.libvirt);
  const kvm = kvmPids(places.kvmDebugfs);
  const found: Vmm[] = [];
  someProcess(places.procfs, (pid) => {
    const vmm = vmmOf(pid, domains, kvm.has(pid), places.procfs);
    if (vmm !== undefined) found.push(vmm);
    return false;
  });
  return found.sort((a, b) => a.pid - b.pid);
}

/** What process `pid` is: the virtual machine that it runs, or just its program. */
export function describeProcess(pid: number, places: VmPlaces = PLACES): Vmm {
  const vmm = vmmOf(pid, libvirtDomains(places.libvirt), true, places.procfs);
  return vmm ?? { pid, program: "", name: undefined, uuid: undefined };
}

/** "26027 (web, c7a5fdbd-...)". Names are whatever somebody called his guest. */
export function formatVmm({ pid, program, name, uuid }: Vmm): string {
  const known = [name === undefined ? "" : JSON.stringify(name), uuid ?? ""].filter(Boolean);
  const what = known.length === 0 ? program : known.join(", ");
  return what === "" ? `${pid}` : `${pid} (${what})`;
}

function foundText(vmms: readonly Vmm[]): string {
  if (vmms.length === 0) return "no virtual machine is seen on this machine";
  const listed = vmms.slice(0, LISTED_MAX).map(formatVmm).join(", ");
  const more = vmms.length > LISTED_MAX ? ` and ${vmms.length - LISTED_MAX} more` : "";
  return `there are ${listed}${more}`;
}

/**
 * The process that `--vm PID|NAME|UUID` means. A number is a process when there is one of this id.
 * Throws VmLookupError, which lists what was found.
 */
export function pidOfVm(wanted: string, places: VmPlaces = PLACES): number {
  const isNumber = /^[0-9]{1,10}$/.test(wanted);
  if (isNumber && existsSync(`${places.procfs}/${wanted}`)) return Number(wanted);
  const vmms = listVmms(places);
  const named = vmms.filter((vmm) => isNamed(vmm, wanted));
  if (named.length === 1) return named[0]!.pid;
  const quoted = JSON.stringify(wanted);
  if (named.length > 1) {
    throw new VmLookupError(
      `Cannot choose virtual machine ${quoted}: ${named.length} have this name or UUID: ` +
        named.slice(0, LISTED_MAX).map(formatVmm).join(", "),
      "give the process id: --vm PID",
    );
  }
  const what = isNumber ? "process or virtual machine" : "virtual machine";
  throw new VmLookupError(
    `Cannot find ${what} ${quoted}: ${foundText(vmms)}`,
    "--vm takes QEMU's process id, the guest's name (-name guest=NAME) or its UUID (-uuid UUID)",
  );
}
