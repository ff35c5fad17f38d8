/**
 * A libvirtd of the test's own (libvirt_daemon.sh), with one domain at a time:
 *
 *   const problem = libvirtProblem();             "" when it can be had
 *   const libvirt = await Libvirt.start(workspace);
 *   const pid = await libvirt.boot("web", domainXml(...));
 *   libvirt.run("virsh", "list");                 in its mount namespace
 */
import { type ChildProcess, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { resolve } from "node:path";
import { type DebianPackage, packagesProblem } from "../apt.ts";
import { waitUntil } from "./deadline.ts";
import type { Prerequisites } from "./prerequisites.ts";
import type { Workspace } from "./workspace.ts";

const DAEMON_SCRIPT = resolve(import.meta.dirname, "libvirt_daemon.sh");
const README = resolve(import.meta.dirname, "../../README.md");
const START_DEADLINE_MS = 20_000;
const COMMAND_TIMEOUT_MS = 30_000;
const LIBVIRT_PACKAGES: readonly DebianPackage[] = [
  { name: "libvirt-daemon", program: "libvirtd" },
  {
    name: "libvirt-daemon-driver-qemu",
    files: ["/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"],
  },
  { name: "libvirt-clients", program: "virsh" },
];

/** Why no libvirtd can be run here, or "". */
export function libvirtProblem(): string {
  const problem = packagesProblem(LIBVIRT_PACKAGES);
  if (problem !== "") return problem;
  const { status, stderr } = spawnSync("unshare", ["--mount", "true"], { encoding: "utf8" });
  return status === 0 ? "" : `no mount namespace can be made: ${stderr?.trim()}`;
}

/** A tcp port of the loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === "string") throw new TypeError("Cannot find a port");
  return address.port;
}

/** The XML that README tells its reader to put into a domain, its port exchanged. */
export function readmeChannel(port: number): string {
  const xml = /```xml\n([\s\S]*?)```/.exec(readFileSync(README, "utf8"))?.[1];
  if (xml?.includes("service='9900'") !== true) throw new RangeError("README has no channel XML");
  return xml.replace("...\n", "").replace("service='9900'", `service='${port}'`);
}

export interface DomainParts {
  readonly name: string;
  readonly uuid: string;
  readonly prerequisites: Prerequisites;
  readonly initramfsPath: string;
  readonly commandLine: string;
  /** Becomes the console's output. */
  readonly consolePath: string;
  /** XML of further devices. */
  readonly devices: string;
}

/** An emulated guest that boots a kernel directly. */
export function domainXml(parts: DomainParts): string {
  const { kernel, qemuPath } = parts.prerequisites;
  return `<domain type='qemu'>
  <name>${parts.name}</name>
  <uuid>${parts.uuid}</uuid>
  <memory unit='MiB'>768</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>${kernel.imagePath}</kernel>
    <initrd>${parts.initramfsPath}</initrd>
    <cmdline>${parts.commandLine}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>${qemuPath}</emulator>
    ${parts.devices}
    <serial type='file'><source path='${parts.consolePath}'/></serial>
  </devices>
</domain>
`;
}

export class Libvirt {
  readonly #daemon: ChildProcess;
  #output = "";
  #domain: string | undefined;

  private constructor(workspace: Workspace) {
    this.#daemon = workspace.spawn("unshare", ["--mount", "sh", DAEMON_SCRIPT], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#daemon.stdout, this.#daemon.stderr]) {
      stream?.on("data", (bytes: Uint8Array) => {
        this.#output += Buffer.from(bytes).toString();
      });
    }
  }

  /** Throws when it does not come up, with its own words. */
  static async start(workspace: Workspace): Promise<Libvirt> {
    const libvirt = new Libvirt(workspace);
    const isUp = (): boolean => {
      if (libvirt.#daemon.exitCode !== null) {
        throw new RangeError(`Cannot run libvirtd: it ended, with\n${libvirt.#output}`);
      }
      return libvirt.run("virsh", "--connect", "qemu:///system", "list").status === 0;
    };
    await waitUntil(isUp, START_DEADLINE_MS, "libvirtd");
    return libvirt;
  }

  /** Runs a program to its end where this libvirt is to be seen. */
  run(program: string, ...args: readonly string[]) {
    const command = ["--mount", "--target", `${this.#daemon.pid}`, program, ...args];
    const { status, stdout, stderr } = spawnSync("nsenter", command, {
      encoding: "utf8",
      timeout: COMMAND_TIMEOUT_MS,
    });
    return { status, stdout, stderr };
  }

  /** Defines and starts a domain; gives QEMU's process id, as libvirt knows it. */
  boot(name: string, xmlPath: string): number {
    this.#virsh("define", xmlPath);
    this.#virsh("start", name);
    this.#domain = name;
    // <domstatus state='running' reason='booted' pid='9013'>; NAME.pid has XML's &amp; in its name.
    const { stdout } = this.run("cat", `/run/libvirt/qemu/${name}.xml`);
    return Number(/^<domstatus [^>]*\bpid='(\d+)'/m.exec(stdout)?.[1]);
  }

  /** Ends the domain: QEMU would outlive the daemon. */
  close(): void {
    if (this.#domain !== undefined) this.#virsh("destroy", this.#domain);
    this.#domain = undefined;
    this.#daemon.kill("SIGTERM");
  }

  #virsh(...args: readonly string[]): void {
    const { status, stderr } = this.run("virsh", "--connect", "qemu:///system", ...args);
    if (status !== 0) throw new RangeError(`Cannot run virsh ${args.join(" ")}: ${stderr}`);
  }
}
