/** Sockets on loopback: addresses as bytes, and every way to connect and to fail. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { POLLIN, POLLOUT } from "../../../shared/sys/abi.ts";
import { EAGAIN, SysError } from "../../../shared/sys/errno.ts";
import { type Fd, readInto, writeFrom } from "../../../shared/sys/fd.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import {
  acceptFrom,
  boundPort,
  connectTo,
  encodeSocketAddress,
  finishConnect,
  formatAddress,
  listenOn,
  peerPid,
  type SocketAddress,
  setNoDelay,
} from "../../../shared/sys/socket.ts";
import { addressOf } from "../../../shared/sys/syscall.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-socket-"));
afterAll(() => rmSync(folder, { recursive: true }));
const DEADLINE_MS = 10_000;

function tcp(host: string, port: number): SocketAddress {
  return { kind: "tcp", host, port };
}

/** Waits for one event on one descriptor. */
function waitFor(fd: Fd, events: number): number {
  const poll = new PollSet();
  const slot = poll.add(fd.number, events);
  poll.wait(DEADLINE_MS);
  const ready = poll.readyEvents(slot);
  poll.close();
  return ready;
}

function hasIpv6(): boolean {
  try {
    listenOn(tcp("::1", 0)).close();
    return true;
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return false;
  }
}

/** Sends three bytes each way over a new connection to `listener`. */
function exchange(listener: Fd, address: SocketAddress): void {
  using client = connectTo(address);
  expect(waitFor(client, POLLOUT) & POLLOUT).toBe(POLLOUT);
  finishConnect(client);
  waitFor(listener, POLLIN);
  using server = acceptFrom(listener)!;
  if (address.kind === "tcp") setNoDelay(server);
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    const into = new Uint8Array(8);
    expect(readInto(to, addressOf(into), 8)).toBe(-EAGAIN);
    expect(writeFrom(from, addressOf(Uint8Array.of(7, 8, 9)), 3)).toBe(3);
    waitFor(to, POLLIN);
    expect(readInto(to, addressOf(into), 8)).toBe(3);
    expect([...into.slice(0, 3)]).toEqual([7, 8, 9]);
  }
  client.close();
  waitFor(server, POLLIN);
  expect(readInto(server, addressOf(new Uint8Array(1)), 1)).toBe(0);
}

describe("encodeSocketAddress", () => {
  test("encodeSocketAddress() of IPv4 is struct sockaddr_in", () => {
    expect([...encodeSocketAddress(tcp("10.1.2.3", 9900))]).toEqual([
      ...[2, 0, 0x26, 0xac, 10, 1, 2, 3],
      ...[0, 0, 0, 0, 0, 0, 0, 0],
    ]);
  });

  test("encodeSocketAddress() of IPv6 is struct sockaddr_in6", () => {
    expect([...encodeSocketAddress(tcp("2001:db8::ff:1", 80))]).toEqual([
      ...[10, 0, 0, 80, 0, 0, 0, 0],
      ...[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 1],
      ...[0, 0, 0, 0],
    ]);
  });

  test("encodeSocketAddress() of a path is struct sockaddr_un", () => {
    const bytes = encodeSocketAddress({ kind: "unix", path: "/a" });
    expect([...bytes]).toEqual([1, 0, 0x2f, 0x61, 0]);
  });

  test("encodeSocketAddress() writes every form of an IPv6 address alike", () => {
    const groups = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, fc.nat({ max: 8 }), fc.nat({ max: 8 }), (values, a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const zeroed = values.map((value, i) => (i >= from && i < to ? 0 : value));
        const hex = zeroed.map((value) => value.toString(16));
        const short =
          from === to
            ? hex.join(":")
            : `${hex.slice(0, from).join(":")}::${hex.slice(to).join(":")}`;
        const expected = zeroed.flatMap((value) => [value >> 8, value & 0xff]);
        expect([...encodeSocketAddress(tcp(short, 1)).slice(8, 24)]).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test("encodeSocketAddress() takes an IPv6 address whose end is written as in IPv4", () => {
    for (const [host, head] of [
      ["::ffff:10.1.2.255", [...new Array(10).fill(0), 0xff, 0xff]],
      ["::10.1.2.255", new Array(12).fill(0)],
      ["64:ff9b::10.1.2.255", [0, 0x64, 0xff, 0x9b, ...new Array(8).fill(0)]],
      ["1:2:3:4:5:6:10.1.2.255", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]],
    ] as const) {
      const bytes = [...encodeSocketAddress(tcp(host, 1)).slice(8, 24)];
      expect(bytes).toEqual([...head, 10, 1, 2, 255]);
    }
  });

  test("encodeSocketAddress() refuses what is no address", () => {
    for (const host of ["localhost", "", "1.2.3", "::g", "1.2.3.4:5", "fe80::1%lo"]) {
      expect(() => encodeSocketAddress(tcp(host, 1))).toThrow(
        `Cannot use host "${host}": wants an IPv4 or IPv6 address`,
      );
    }
  });

  test("encodeSocketAddress() refuses a path that sun_path cannot hold", () => {
    const longest = `/${"x".repeat(106)}`;
    expect(encodeSocketAddress({ kind: "unix", path: longest }).length).toBe(110);
    expect(() => encodeSocketAddress({ kind: "unix", path: `${longest}x` })).toThrow(
      `Cannot use unix socket "${longest}x": 108 bytes, wants at most 107`,
    );
    // Bytes count, not characters.
    expect(() => encodeSocketAddress({ kind: "unix", path: `/${"ü".repeat(54)}` })).toThrow(
      "109 bytes",
    );
  });
});

describe("formatAddress", () => {
  test("formatAddress() prints what push= and pull= take", () => {
    expect(formatAddress(tcp("127.0.0.1", 9900))).toBe("127.0.0.1:9900");
    expect(formatAddress(tcp("::1", 9900))).toBe("[::1]:9900");
    expect(formatAddress({ kind: "unix", path: "/run/x.sock" })).toBe("unix:/run/x.sock");
  });
});

describe("tcp", () => {
  test("listenOn(), connectTo() and acceptFrom() carry bytes over IPv4", () => {
    using listener = listenOn(tcp("127.0.0.1", 0));
    exchange(listener, tcp("127.0.0.1", boundPort(listener)));
  });

  test.skipIf(!hasIpv6())("they carry bytes over IPv6 (skipped where lo has none)", () => {
    using listener = listenOn(tcp("::1", 0));
    exchange(listener, tcp("::1", boundPort(listener)));
  });

  test("acceptFrom() gives undefined when nobody waits", () => {
    using listener = listenOn(tcp("127.0.0.1", 0));
    expect(acceptFrom(listener)).toBeUndefined();
  });

  test("listenOn() says who has the port", () => {
    using first = listenOn(tcp("127.0.0.1", 0));
    const port = boundPort(first);
    expect(() => listenOn(tcp("127.0.0.1", port))).toThrow(
      `Cannot listen on 127.0.0.1:${port}: EADDRINUSE (address already in use)`,
    );
  });

  test("listenOn() refuses an address that this machine does not have", () => {
    // TEST-NET-1 belongs to documentation.
    expect(() => listenOn(tcp("192.0.2.1", 0))).toThrow("EADDRNOTAVAIL");
  });

  test("a refused connection is reported at once or by finishConnect()", () => {
    const listener = listenOn(tcp("127.0.0.1", 0));
    const port = boundPort(listener);
    listener.close();
    const connect = (): void => {
      using fd = connectTo(tcp("127.0.0.1", port));
      waitFor(fd, POLLOUT);
      finishConnect(fd);
    };
    expect(connect).toThrow(`Cannot connect to 127.0.0.1:${port}: ECONNREFUSED`);
  });

  test("finishConnect() is silent about a connection that stands", () => {
    using listener = listenOn(tcp("127.0.0.1", 0));
    using fd = connectTo(tcp("127.0.0.1", boundPort(listener)));
    waitFor(fd, POLLOUT);
    expect(() => finishConnect(fd)).not.toThrow();
  });

  test("a failed listenOn() leaves no descriptor behind", () => {
    using first = listenOn(tcp("127.0.0.1", 0));
    const address = tcp("127.0.0.1", boundPort(first));
    const before = statSync("/proc/self/fd").size;
    for (let i = 0; i < 50; i++) expect(() => listenOn(address)).toThrow(SysError);
    expect(statSync("/proc/self/fd").size).toBe(before);
  });
});

describe("unix", () => {
  test("listenOn(), connectTo() and acceptFrom() carry bytes over a path", () => {
    const address: SocketAddress = { kind: "unix", path: join(folder, "exchange") };
    using listener = listenOn(address);
    expect(statSync(address.path).isSocket()).toBe(true);
    exchange(listener, address);
  });

  test("peerPid() tells who connected", () => {
    const address: SocketAddress = { kind: "unix", path: join(folder, "peer") };
    using listener = listenOn(address);
    using client = connectTo(address);
    using server = acceptFrom(listener)!;
    expect(peerPid(server)).toBe(process.pid);
    expect(peerPid(client)).toBe(process.pid);
  });

  const refused: readonly (readonly [string, string, () => void])[] = [
    ["missing", "ENOENT", () => {}],
    ["plain", "ECONNREFUSED", () => writeFileSync(join(folder, "plain"), "")],
    ["dead", "ECONNREFUSED", () => listenOn({ kind: "unix", path: join(folder, "dead") }).close()],
  ];
  for (const [name, code, prepare] of refused) {
    test(`connectTo() a ${name} path gives ${code}`, () => {
      prepare();
      const path = join(folder, name);
      expect(() => connectTo({ kind: "unix", path })).toThrow(
        `Cannot connect to unix:${path}: ${code}`,
      );
    });
  }

  test("connectTo() gives EAGAIN when the listener's queue is full", () => {
    const address: SocketAddress = { kind: "unix", path: join(folder, "full") };
    using listener = listenOn(address);
    expect(listener.isClosed).toBe(false);
    const clients: Fd[] = [];
    const CONNECTIONS_MAX = 1000;
    let failure: unknown;
    while (failure === undefined && clients.length < CONNECTIONS_MAX) {
      try {
        clients.push(connectTo(address));
      } catch (error) {
        failure = error;
      }
    }
    expect((failure as SysError).code).toBe("EAGAIN");
    for (const client of clients) client.close();
  });

  test("listenOn() refuses a path that is taken", () => {
    const path = join(folder, "taken");
    writeFileSync(path, "");
    expect(() => listenOn({ kind: "unix", path })).toThrow(
      `Cannot listen on unix:${path}: EADDRINUSE`,
    );
  });
});
