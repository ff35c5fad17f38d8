/**
 * A program that is many hostile guests at once, one behind each unix socket of a folder:
 *
 *   bun hostile_guest.ts /tmp/folder        listens on /tmp/folder/tasks.sock, pongs.sock, ...
 *   ready
 *
 * Each sends its nonsense from when a host has attached until it is turned away, as fast as that
 * host reads. A process of its own: the host under test shall not be slowed by the test.
 */
import type { Socket } from "node:net";
import { join } from "node:path";
import { FakeGuest, type FakePeer } from "../support/fake_guest.ts";
import { ABUSES, type Abuse } from "./abuses.ts";

/** How often it is looked whether a host has come. */
const LOOK_MS = 20;

/** Resolves when more may be written, or never will. */
function writable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

async function abuseHost(peer: FakePeer, { next }: Abuse): Promise<void> {
  const { socket } = peer;
  try {
    for (let turn = 0; !socket.destroyed; turn++) {
      const isTaken = socket.write(next(peer, turn));
      await (isTaken ? new Promise(setImmediate) : writable(socket));
    }
  } catch (error) {
    // The host has turned it away, which Bun's write() throws when it finds out first.
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

async function serve(path: string, abuse: Abuse): Promise<void> {
  const guest = await FakeGuest.listen({ path }, { twoWay: true, ...abuse.manners });
  const timer = setInterval(() => {
    const peer = guest.peers.find(({ isGreeted }) => isGreeted);
    if (peer === undefined) return;
    clearInterval(timer);
    void abuseHost(peer, abuse);
  }, LOOK_MS);
}

const folder = process.argv[2] ?? ".";
for (const [name, abuse] of Object.entries(ABUSES))
  await serve(join(folder, `${name}.sock`), abuse);
console.log("ready");
