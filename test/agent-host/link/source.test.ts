/** The byte stream of one guest: connecting, reading, sending to a peer that does not read. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { parsePullTarget } from "../../../agent-host/link/pull_target.ts";
import { Source, SourceError } from "../../../agent-host/link/source.ts";
import { connectHint } from "../../../agent-host/link/unready_source.ts";
import { readInto } from "../../../shared/sys/fd.ts";
import { acceptFrom, boundPort, listenOn } from "../../../shared/sys/socket.ts";
import { addressOf } from "../../../shared/sys/syscall.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { Workspace } from "../../vm/workspace.ts";
import { fakeHello, StreamWriter } from "../support/guest_stream.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function close(source: Source): Disposable {
  return { [Symbol.dispose]: () => source.close() };
}

describe("Source", () => {
  test("connects to whichever loopback address answers", () => {
    using listener = listenOn({ kind: "tcp", host: "127.0.0.1", port: 0 });
    const port = boundPort(listener);
    const source = new Source(parsePullTarget(String(port)));
    using _ = close(source);
    expect(source).toMatchObject({ name: `127.0.0.1:${port}`, isFile: false, hasEnded: false });
  });

  test("names every address that refused", () => {
    expect(() => new Source(parsePullTarget("1"))).toThrow(
      /^Cannot pull from 1: 127\.0\.0\.1:1: ECONNREFUSED .*; \[::1\]:1: E[A-Z]+ /,
    );
    expect(() => new Source(parsePullTarget("unix:/nosuch/x"))).toThrow(SourceError);
  });

  test("says what each refusal asks for, and an address once", () => {
    const thrown = (pull: string): SourceError => {
      try {
        new Source(parsePullTarget(pull)).close();
      } catch (error) {
        return error as SourceError;
      }
      throw new Error("connected");
    };
    const nobody = thrown("127.0.0.1:1");
    expect(nobody.message).toBe("Cannot pull from 127.0.0.1:1: ECONNREFUSED (connection refused)");
    expect(nobody.hint).toMatch(/chardev.*agent-guest serve/);
    const missing = thrown("unix:/nosuch/x");
    expect(missing.message).toMatch(/^Cannot pull from unix:\/nosuch\/x: ENOENT /);
    expect(missing.hint).toMatch(/^no such socket.*agent-guest serve/);
    expect(connectHint(["ETIMEDOUT", "EACCES"])).toMatch(/root.*group/);
    expect(connectHint(["EHOSTUNREACH"])).toMatch(/agent-guest serve/);
    expect(connectHint([])).toBeUndefined();
  });

  test("reads a file to its end, as frames", () => {
    const path = workspace.file("a.vms");
    const frame = new StreamWriter().frame(FrameType.HELLO, fakeHello());
    writeFileSync(path, frame);
    const source = new Source({ kind: "file", name: path, path });
    using _ = close(source);
    expect(source.read()).toBe(true);
    expect(source.decoder.next()).toMatchObject({ type: FrameType.HELLO });
    expect([source.read(), source.hasEnded, source.bytesRead]).toEqual([false, true, frame.length]);
  });

  test("says nothing to a file", () => {
    const path = workspace.file("b.vms");
    writeFileSync(path, "");
    const source = new Source({ kind: "file", name: path, path });
    using _ = close(source);
    source.send(FrameType.ACK, { positions: [] });
    expect(source.ping(1)).toBeUndefined();
  });

  test("gives a directory up with the kernel's reason", () => {
    const source = new Source({ kind: "file", name: workspace.path, path: workspace.path });
    using _ = close(source);
    expect(() => source.read()).toThrow(/^Cannot read .*: EISDIR /);
  });

  test("ends when its peer closes", () => {
    const path = workspace.file("s1");
    using listener = listenOn({ kind: "unix", path });
    const source = new Source(parsePullTarget(`unix:${path}`));
    using _ = close(source);
    expect([source.read(), source.hasEnded]).toEqual([false, false]);
    acceptFrom(listener)!.close();
    expect([source.read(), source.hasEnded]).toEqual([false, true]);
  });

  test("keeps what a peer does not read, up to a limit, and sends no ping behind it", () => {
    const path = workspace.file("s2");
    using listener = listenOn({ kind: "unix", path });
    const source = new Source(parsePullTarget(`unix:${path}`));
    using _ = close(source);
    using _peer = acceptFrom(listener)!;
    const positions = Array.from({ length: 1000 }, (_, cpu) => ({ cpu, position: 2n ** 50n }));
    const sendMuch = (): void => {
      for (let i = 0; i < 1000; i++) source.send(FrameType.ACK, { positions });
    };
    sendMuch();
    expect(() => source.flush()).toThrow(/^Cannot send to unix:\S+: it does not read what we say$/);
    expect(source.ping(1)).toBeUndefined();
  });

  test("sends the rest once the peer reads", () => {
    const path = workspace.file("s3");
    using listener = listenOn({ kind: "unix", path });
    const source = new Source(parsePullTarget(`unix:${path}`));
    using _ = close(source);
    using peer = acceptFrom(listener)!;
    const positions = Array.from({ length: 1000 }, (_, cpu) => ({ cpu, position: 2n ** 50n }));
    const isWaiting = (): boolean => source.pollEvents !== 1;
    while (!isWaiting()) source.send(FrameType.ACK, { positions });
    const sink = new Uint8Array(1024 * 1024);
    while (isWaiting()) {
      while (readInto(peer, addressOf(sink), sink.length) > 0);
      source.flush();
    }
    expect(source.ping(2)).toBeGreaterThan(0n);
  });
});
