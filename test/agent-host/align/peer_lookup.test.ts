/** Who owns the other end of a socket: texts of /proc by hand, and this process. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  findPeerInode,
  parseProcNetTcp,
  parseSocketLink,
  pidOfTcpPeer,
} from "../../../agent-host/align/peer_lookup.ts";
import { parsePullTarget } from "../../../agent-host/link/pull_target.ts";
import { Source } from "../../../agent-host/link/source.ts";
import { tcpEnds } from "../../../shared/sys/socket.ts";

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
   1: ${"0".repeat(32)}:26AE ${"0".repeat(32)}:0000 0A ${IDLE} 3333 ${TAIL}
   2: 0000000000000000FFFF00000100007F:26AE 0000000000000000FFFF00000100007F:D000 01 ${IDLE} 0
`;
const V4 = "00000000000000000000ffff7f000001";
const V6 = `${"0".repeat(31)}1`;
const ANY = "0".repeat(32);
const end = (addressHex: string, port: number) => ({ addressHex, port });

describe("sockets", () => {
  test("parseProcNetTcp() reads addresses, ports, state and inode of both families", () => {
    const listens = end(`${"0".repeat(20)}ffff00000000`, 0);
    expect(parseProcNetTcp(TCP)).toEqual([
      { local: end(V4, 9900), remote: listens, isListening: true, inode: 104059n },
      { local: end(V4, 9900), remote: end(V4, 51422), isListening: false, inode: 104077n },
      { local: end(V4, 51422), remote: end(V4, 9900), isListening: false, inode: 104076n },
      { local: end(V4, 9900), remote: end(V4, 51424), isListening: false, inode: 0n },
    ]);
    expect(parseProcNetTcp(TCP6)).toEqual([
      { local: end(V6, 9901), remote: end(ANY, 0), isListening: true, inode: 2222n },
      { local: end(ANY, 9902), remote: end(ANY, 0), isListening: true, inode: 3333n },
      { local: end(V4, 9902), remote: end(V4, 0xd000), isListening: false, inode: 0n },
    ]);
  });

  test("findPeerInode() wants both addresses, and the listener only of what nobody accepted", () => {
    const sockets = parseProcNetTcp(TCP);
    const find = (own: number, peer: number, host = V4) =>
      findPeerInode(sockets, end(V4, own), end(host, peer));
    expect(find(51422, 9900)).toBe(104077n);
    expect(find(51424, 9900)).toBe(104059n);
    expect(find(51430, 9900)).toBeUndefined();
    expect(find(51422, 9999)).toBeUndefined();
    // The same port on another machine: our own listener has nothing to do with it.
    expect(find(51422, 9900, V4.replace("7f000001", "0a000005"))).toBeUndefined();
    // A listener of IPv6 takes our IPv4 connection, and has not accepted it yet.
    const six = parseProcNetTcp(TCP6);
    expect(findPeerInode(six, end(V4, 0xd000), end(V4, 9902))).toBe(3333n);
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
        for (const socket of parseProcNetTcp(text)) expect(socket.local.port).toBeLessThan(65536);
      }),
      { numRuns: 500 },
    );
  });
});

describe("a made-up /proc", () => {
  let procfs = "";
  afterEach(() => rmSync(procfs, { recursive: true }));

  test("pidOfTcpPeer() finds the process, or says why not", () => {
    procfs = mkdtempSync(join(tmpdir(), "procfs-"));
    mkdirSync(join(procfs, "net"));
    writeFileSync(join(procfs, "net", "tcp"), TCP);
    mkdirSync(join(procfs, "26027", "fd"), { recursive: true });
    symlinkSync("socket:[104077]", join(procfs, "26027", "fd", "23"));
    expect(pidOfTcpPeer(end(V4, 51422), end(V4, 9900), procfs)).toBe(26027);
    expect(() => pidOfTcpPeer(end(V4, 51424), end(V4, 9900), procfs)).toThrow(
      "nobody is seen to hold socket 104059",
    );
    expect(() => pidOfTcpPeer(end(V4, 1), end(V4, 2), procfs)).toThrow("network namespace");
  });
});

describe("the running kernel", () => {
  for (const [listen, pull] of [
    ["127.0.0.1", (port: number) => `127.0.0.1:${port}`],
    ["::1", (port: number) => `[::1]:${port}`],
    ["::", (port: number) => `127.0.0.1:${port}`],
    ["0.0.0.0", (port: number) => `${port}`],
  ] as const) {
    test(`pidOfTcpPeer() finds this process, listening on ${listen}, behind its own connection`, async () => {
      const server: Server = createServer();
      await new Promise<void>((done) => server.listen(0, listen, done));
      const accepted = new Promise<Socket>((done) => server.once("connection", done));
      const { port } = server.address() as AddressInfo;
      const source = new Source(parsePullTarget(pull(port)));
      try {
        const { own, peer } = tcpEnds(source.fd);
        expect(peer.port).toBe(port);
        // Before it is accepted, and after.
        expect(pidOfTcpPeer(own, peer)).toBe(process.pid);
        const client = await accepted;
        expect(own.port).toBe(client.remotePort!);
        expect(pidOfTcpPeer(own, peer)).toBe(process.pid);
        client.destroy();
      } finally {
        source.close();
        server.close();
      }
    });
  }
});
