/**
 * The command line of QEMU for a test guest.
 *
 *   virtio0   a virtio-serial controller with one port, org.qemu.perf0, on a socket of the host:
 *             what libvirt makes of <controller type="virtio-serial" ports="32"/> and <channel>
 *   virtio1   a second controller with one port, org.vmspan.poke0. Writing to it interrupts the
 *             guest. It has an MSI-X vector for each queue, so its interrupts have a line of their
 *             own in /proc/interrupts: virtio1-input
 *   ttyS0     the console, QEMU's standard output
 *   ttyS1     commands for the guest
 */

export const PERF_PORT_NAME = "org.qemu.perf0";
export const POKE_PORT_NAME = "org.vmspan.poke0";
/** QEMU's identifier of the second controller, as QMP knows it. */
export const POKE_CONTROLLER_ID = "poke";

export type Transport = "tcp" | "unix";
/**
 * reliable: the guest keeps the TSC and its sched clock; perf's mmap page has cap_user_time_zero.
 * stock: what Debian does by itself; emulated with several CPUs it drops the TSC as unstable.
 */
export type TscMode = "reliable" | "stock";

export interface GuestConfig {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly transport: Transport;
  readonly tsc: TscMode;
  /**
   * QEMU's default is true: a write to the port wakes QEMU's main loop, which writes to the socket.
   * With false the vCPU's own thread does; without KVM that is the shorter way.
   */
  readonly ioeventfd: boolean;
  /** Whether /init makes the links in /dev/virtio-ports that udev would make. */
  readonly portLinks: boolean;
  /** Whether /init starts `agent-guest serve`. */
  readonly serves: boolean;
}

export const DEFAULT_GUEST_CONFIG: GuestConfig = {
  cpus: 2,
  memoryMiB: 768,
  transport: "tcp",
  tsc: "reliable",
  ioeventfd: true,
  portLinks: true,
  serves: false,
};

export interface GuestPaths {
  readonly kernelImage: string;
  readonly initramfs: string;
  /** Sockets that QEMU listens on. */
  readonly qmpSocket: string;
  readonly shellSocket: string;
  readonly pokeSocket: string;
  readonly channelSocket: string;
}

/** "-append" of QEMU. panic=-1 with -no-reboot turns a kernel panic into the end of QEMU. */
export function kernelCommandLine(config: GuestConfig): string {
  return [
    "console=ttyS0",
    "loglevel=5",
    "panic=-1",
    "rdinit=/init",
    ...(config.tsc === "reliable" ? ["tsc=reliable"] : []),
    ...(config.portLinks ? [] : ["vmspan.links=0"]),
    ...(config.serves ? ["vmspan.serve"] : []),
  ].join(" ");
}

function socketChardev(id: string, path: string): string[] {
  return ["-chardev", `socket,id=${id},path=${path},server=on,wait=off`];
}

/** Port 0 lets the kernel choose; "query-chardev" tells what it chose. */
function channelChardev(config: GuestConfig, paths: GuestPaths): string[] {
  return config.transport === "tcp"
    ? ["-chardev", "socket,id=perf0,host=127.0.0.1,port=0,server=on,wait=off"]
    : socketChardev("perf0", paths.channelSocket);
}

function controller({ ioeventfd }: GuestConfig): string {
  return `virtio-serial-pci,id=virtio-serial0,max_ports=32${ioeventfd ? "" : ",ioeventfd=off"}`;
}

/** Arguments after the program's name. */
export function qemuArgs(config: GuestConfig, paths: GuestPaths): string[] {
  return [
    ...["-name", "vmspan-guest", "-nodefaults", "-no-user-config", "-display", "none"],
    ...["-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max"],
    ...["-smp", String(config.cpus), "-m", String(config.memoryMiB)],
    ...["-kernel", paths.kernelImage, "-initrd", paths.initramfs],
    ...["-append", kernelCommandLine(config)],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...socketChardev("shell", paths.shellSocket),
    ...["-serial", "chardev:shell"],
    ...socketChardev("qmp", paths.qmpSocket),
    ...["-mon", "chardev=qmp,mode=control"],
    ...["-device", controller(config)],
    ...channelChardev(config, paths),
    "-device",
    `virtserialport,bus=virtio-serial0.0,nr=1,chardev=perf0,id=channel0,name=${PERF_PORT_NAME}`,
    ...["-device", `virtio-serial-pci,id=${POKE_CONTROLLER_ID},max_ports=2,vectors=6`],
    ...socketChardev("poke0", paths.pokeSocket),
    "-device",
    `virtserialport,bus=${POKE_CONTROLLER_ID}.0,nr=1,chardev=poke0,name=${POKE_PORT_NAME}`,
  ];
}
