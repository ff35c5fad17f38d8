/** Who owns the other end of a socket: texts of /proc by hand, and this process. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  findPeerInode,
  isNamed,
  parseProcNetTcp,
  parseQemuCommandLine,
  parseSocketLink,
  pidOfTcpPeer,
  pidOfVm,
} from "../../../agent-host/align/vm_lookup.ts";

const HEADER =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when " +
  "retrnsmt   uid  timeout inode";
const IDLE = "00000000:00000000 00:00000000 00000000     0        0";
const TAIL = "1 00000000f68380df 100 0 0 10 0";
/** QEMU listens on 9900 and has accepted us from 51422; our own end; a dead connection. */
const TCP = `${HEADER}
   0: 0100007F:26AC 00000000:0000 0A ${IDLE} 104059 ${TAIL}
   1: 0100007F:26AC 0100007F:C8DE 01 ${IDLE} 104077 ${TAIL}
   2: 0100007F:C8DE 0100007F:26AC 01 ${IDLE} 104076 ${TAIL}
   3: 0100007F:26AC 0100007F:C8E0 06 ${IDLE} 0 3 00000000beeb4df7
`;
const LOOPBACK6 = "00000000000000000000000001000000";
const TCP6 = `${HEADER}
   0: ${LOOPBACK6}:26AD ${"0".repeat(32)}:0000 0A ${IDLE} 2222 ${TAIL}
`;

describe("sockets", () => {
  test("parseProcNetTcp() reads ports, state and inode of both families", () => {
    expect(parseProcNetTcp(TCP)).toEqual([
      { localPort: 9900, remotePort: 0, isListening: true, inode: 104059n },
      { localPort: 9900, remotePort: 51422, isListening: false, inode: 104077n },
      { localPort: 51422, remotePort: 9900, isListening: false, inode: 104076n },
      { localPort: 9900, remotePort: 51424, isListening: false, inode: 0n },
    ]);
    expect(parseProcNetTcp(TCP6)).toEqual([
      { localPort: 9901, remotePort: 0, isListening: true, inode: 2222n },
    ]);
  });

  test("findPeerInode() prefers the connection over the listener, and never a dead one", () => {
    const sockets = parseProcNetTcp(TCP);
    expect(findPeerInode(sockets, 51422, 9900)).toBe(104077n);
    expect(findPeerInode(sockets, 51424, 9900)).toBe(104059n);
    expect(findPeerInode(sockets, undefined, 9900)).toBe(104059n);
    expect(findPeerInode(sockets, 51422, 9999)).toBeUndefined();
  });

  test("parseSocketLink() takes sockets only", () => {
    expect(parseSocketLink("socket:[104059]")).toBe(104059n);
    for (const link of ["pipe:[1]", "/dev/null", "socket:[x]", "socket:[1] (deleted)"]) {
      expect(parseSocketLink(link)).toBeUndefined();
    }
  });

  test("parseProcNetTcp() gives sockets for any text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const socket of parseProcNetTcp(text)) expect(socket.localPort).toBeLessThan(65536);
      }),
      { numRuns: 500 },
    );
  });
});

describe("parseQemuCommandLine()", () => {
  const UUID = "C7A5FDBD-EDAF-9455-926A-D65C16DB1809";
  for (const [what, words, name, uuid] of [
    ["libvirt", ["/usr/bin/qemu-system-x86_64", "-name", "guest=web 1,debug-threads=on"], "web 1"],
    ["plain", ["qemu-system-x86_64", "-name", "db", "-uuid", UUID], "db", UUID.toLowerCase()],
    ["two dashes", ["/usr/libexec/qemu-kvm", "--name", "a,,b,process=x"], "a,b"],
    ["nameless", ["kvm", "-m", "512"], undefined],
  ] as const) {
    test(`reads ${what}`, () => {
      expect(parseQemuCommandLine(`${words.join("\0")}\0`)).toEqual({ name, uuid });
    });
  }

  test("refuses other programs, and matches by name or UUID", () => {
    expect(parseQemuCommandLine("vim\0-name\0db\0")).toBeUndefined();
    expect(parseQemuCommandLine("")).toBeUndefined();
    const identity = parseQemuCommandLine(`qemu-system-x86_64\0-name\0db\0-uuid\0${UUID}\0`)!;
    expect([isNamed(identity, "db"), isNamed(identity, UUID), isNamed(identity, "d")]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe("a made-up /proc", () => {
  let procfs = "";
  afterEach(() => rmSync(procfs, { recursive: true }));

  function makeProc(): void {
    procfs = mkdtempSync(join(tmpdir(), "procfs-"));
    mkdirSync(join(procfs, "net"));
    writeFileSync(join(procfs, "net", "tcp"), TCP);
    mkdirSync(join(procfs, "26027", "fd"), { recursive: true });
    writeFileSync(join(procfs, "26027", "cmdline"), "qemu-system-x86_64\0-name\0db\0");
    symlinkSync("socket:[104077]", join(procfs, "26027", "fd", "23"));
    mkdirSync(join(procfs, "26028"));
    writeFileSync(join(procfs, "26028", "cmdline"), "kvm\0-name\0web\0");
    mkdirSync(join(procfs, "26029"));
    writeFileSync(join(procfs, "26029", "cmdline"), "kvm\0-name\0web\0");
  }

  test("pidOfTcpPeer() and pidOfVm() find the process, or say why not", () => {
    makeProc();
    expect(pidOfTcpPeer(51422, 9900, procfs)).toBe(26027);
    expect(() => pidOfTcpPeer(51424, 9900, procfs)).toThrow("nobody holds inode 104059");
    expect(() => pidOfTcpPeer(1, 2, procfs)).toThrow("no such socket");
    expect(pidOfVm("db", procfs)).toBe(26027);
    expect(pidOfVm("4711", procfs)).toBe(4711);
    expect(() => pidOfVm("web", procfs)).toThrow("2 QEMU processes");
    expect(() => pidOfVm("nobody", procfs)).toThrow("0 QEMU processes");
  });
});

describe("the running kernel", () => {
  test("pidOfTcpPeer() finds this process behind its own connection", async () => {
    const server: Server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const accepted = new Promise<Socket>((done) => server.once("connection", done));
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const peer = await accepted;
    try {
      const ourPort = peer.remotePort;
      const { port } = server.address() as AddressInfo;
      expect(pidOfTcpPeer(ourPort, port)).toBe(process.pid);
      expect(pidOfTcpPeer(undefined, port)).toBe(process.pid);
    } finally {
      client.destroy();
      peer.destroy();
      server.close();
    }
  });
});
