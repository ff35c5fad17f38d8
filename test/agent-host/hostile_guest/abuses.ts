/**
 * What a guest may do to a host that trusts it: each abuse is a guest that attaches politely, and
 * then sends one kind of nonsense for as long as it is listened to.
 */
import { CPUS_MAX, FrameType, headerCheck, POSITION_MAX } from "../../../shared/wire/frame.ts";
import { markerFrom } from "../support/fake_events.ts";
import type { FakePeer, GuestManners } from "../support/fake_guest.ts";
import { FAKE_TYPE, fakeEvent, fakeHello, join, nowNs } from "../support/guest_stream.ts";

const ESCAPES = "\x1b[2J\x1b]0;owned\x07";
/** More than a format may have bytes for, and more than it may have. */
const FIELDS_ENDLESS = 10_000;
const FIELDS_MANY = 1200;
/** Frames of one write, where they are small. */
const BURST = 500;
/** No divisor of 4096. */
const EVENTS_AT_ONCE = 300;

export interface Abuse {
  readonly manners?: GuestManners;
  /** The next bytes to send. */
  next(peer: FakePeer, turn: number): Uint8Array;
  /** What agent-host says of it, once, while it runs. */
  readonly said: RegExp;
}

const random = (bound: number): number => Math.floor(Math.random() * bound);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const burst = (make: (i: number) => Uint8Array): Uint8Array =>
  join(...Array.from({ length: BURST }, (_, i) => make(i)));

/** A true header that claims more than any frame may have. */
function hugeHeader(peer: FakePeer, type: number, payloadBytes: number): Uint8Array {
  const header = peer.writer.header(type, 0);
  const view = new DataView(header.buffer);
  view.setUint32(8, payloadBytes, true);
  view.setUint16(6, headerCheck(header, 0), true);
  return header;
}

/** A format file as the kernel would write it. */
function formatOf(count: number): Uint8Array {
  const fields = Array.from(
    { length: count },
    (_, i) => `\tfield:int f${i};\toffset:${8 + 4 * i};\tsize:4;\tsigned:1;\n`,
  );
  const head = `name: marker\nID: ${FAKE_TYPE}\nformat:\n`;
  return bytes(`${head}${fields.join("")}\nprint fmt: "%d", REC->f0\n`);
}

/** Sound samples from where the ring ends, and progress behind them. */
function flood(peer: FakePeer, hasProgress: boolean): Uint8Array {
  const span = markerFrom(nowNs(), 2000);
  const frame = peer.writer.samples(0, peer.position, span);
  peer.position += span.length;
  return hasProgress
    ? join(frame, peer.writer.frame(FrameType.PROGRESS, { tsc: peer.tsc() }))
    : frame;
}

let creepingTsc = 0n;

export const ABUSES: Readonly<Record<string, Abuse>> = {
  lengths: {
    next: (peer) =>
      join(
        hugeHeader(peer, FrameType.SAMPLES, 0xffff_ffff),
        hugeHeader(peer, FrameType.HELLO, 2 ** 31),
        Uint8Array.from({ length: 4096 }, () => random(256)),
      ),
    said: /frames over the limit/,
  },
  tasks: {
    next: (peer, turn) => {
      const tasks = Array.from({ length: 2000 }, (_, i) => ({
        pid: ((turn % 500) * 2000 + i) >>> 0,
        comm: bytes(`t${ESCAPES}`),
      }));
      return peer.writer.frame(FrameType.TASK, { tasks });
    },
    said: /names of tasks over the limit/,
  },
  positions: {
    next: (peer) => {
      const span = markerFrom(nowNs(), 20);
      return burst(() => peer.writer.samples(random(3), random(1e6) * 8, span, random(2) === 0));
    },
    said: /spans of CPUs that it did not name/,
  },
  far_positions: {
    next: (peer) => {
      const span = markerFrom(nowNs(), 1);
      return burst(() => peer.writer.samples(0, POSITION_MAX - 8 * random(1e6), span));
    },
    said: /unreadable frames|bytes in which no record is known to begin|bytes from an impossible/,
  },
  backwards: {
    next: (peer) => {
      const at = nowNs();
      const stamps = Array.from({ length: 200 }, (_, i) => markerFrom(at - i * 50_000_000, 1));
      const span = stamps.flat();
      const frame = peer.writer.samples(0, peer.position, span);
      peer.position += span.length;
      return frame;
    },
    said: /samples from before those in front of them/,
  },
  future: {
    next: (peer) => {
      const span = markerFrom(nowNs() + 3.6e12, 100);
      const frame = peer.writer.samples(0, peer.position, span);
      peer.position += span.length;
      const tsc = peer.tsc() + 2n ** 43n;
      return join(frame, peer.writer.frame(FrameType.PROGRESS, { tsc }));
    },
    said: /samples from the future|times in the future/,
  },
  escapes: {
    manners: { hello: { hostname: ESCAPES, events: [fakeEvent({ alias: `al${ESCAPES}` })] } },
    next: (peer, turn) => {
      const lost = { cpu: 0, place: `${ESCAPES}${turn}`, events: 1n, bytes: 0n };
      const positions = { fromPosition: 0n, toPosition: 0n };
      const frame = peer.writer.frame(FrameType.LOST, { ...lost, ...positions });
      const tasks = [{ pid: random(1e6), comm: bytes(ESCAPES) }];
      return join(frame, peer.writer.frame(FrameType.TASK, { tasks }), peer.writer.header(222, 0));
    },
    said: /frames of unknown types/,
  },
  formats: {
    manners: { hello: { events: [fakeEvent({ format: formatOf(FIELDS_ENDLESS) })] } },
    next: (peer) => peer.writer.header(222, 0),
    said: /^agent-host: ERROR: Cannot use \S*formats.sock: Cannot read a HELLO message: /m,
  },
  fields: {
    manners: { hello: { events: [fakeEvent({ format: formatOf(FIELDS_MANY) })] } },
    next: (peer) => peer.writer.header(222, 0),
    said: /^agent-host: ERROR: Cannot use \S*fields.sock: .*more than 512 fields/m,
  },
  acks: {
    next: (peer) =>
      burst(() => {
        const positions = [{ cpu: random(9), position: BigInt(random(1e9)) }];
        return peer.writer.frame(FrameType.ACK, { positions });
      }),
    said: /frames that only a host sends/,
  },
  hellos: {
    next: (peer, turn) =>
      join(
        ...Array.from({ length: 20 }, (_, i) =>
          peer.writer.frame(FrameType.HELLO, fakeHello({ streamNonce: BigInt(turn * 20 + i + 9) })),
        ),
        peer.writer.header(222, 0),
      ),
    said: /frames of unknown types/,
  },
  cpus: {
    // Each stream has other CPUs than the ones before, and something of each.
    next: (peer, turn) => {
      const cpus = Array.from({ length: 100 }, (_, i) => ({ cpu: (100 * turn + i) % CPUS_MAX }));
      const hello = fakeHello({ streamNonce: BigInt(turn + 9), cpus, start: [] });
      const spans = cpus.map(({ cpu }) => peer.writer.samples(cpu, 0, markerFrom(nowNs(), 1)));
      return join(peer.writer.frame(FrameType.HELLO, hello), ...spans);
    },
    said: /^agent-host: ERROR: Cannot use \S*cpus\.sock: it has had \d+ CPUs, wants at most 1024/m,
  },
  counts: {
    next: (peer, turn) => {
      const zero = { lostKernel: 0n, headPosition: 0n, sentPosition: 0n, ackedPosition: 0n };
      const drops = Array.from({ length: 4 }, (_, i) => ({
        place: `${turn} ${i} ${ESCAPES.repeat(20)}`,
        events: 1n,
        bytes: 1n,
      }));
      const cpus = Array.from({ length: 300 }, (_, i) => ({
        cpu: (turn * 300 + i) >>> 0,
        produced: 1n,
        drops,
        ...zero,
      }));
      const stats = { cpus, final: false, agentCpuNs: 0n, rssBytes: 0n };
      return peer.writer.frame(FrameType.STATS, stats);
    },
    said: /counts of CPUs that it did not name/,
  },
  events: {
    manners: { hello: { eventCount: 4096 } },
    // The frame that completes them brings more than may be.
    next: (peer) => {
      const events = Array.from({ length: EVENTS_AT_ONCE }, () => fakeEvent());
      return peer.writer.frame(FrameType.EVENTS, { events });
    },
    said: /^agent-host: ERROR: Cannot use \S*events\.sock: it has over 4096 events/m,
  },
  pongs: {
    next: (peer) =>
      burst(() => {
        const stamps = { echoTsc: 1n, receivedTsc: peer.tsc(), sentTsc: 1n };
        return peer.writer.frame(FrameType.PONG, { seq: random(2 ** 31), ...stamps });
      }),
    said: /answers to pings that were not sent/,
  },
  greedy: {
    next: (peer) => flood(peer, false),
    said: /greedy.sock is silent: going on without it/,
  },
  flood: { next: (peer) => flood(peer, true), said: /^Connected to \S*flood.sock/m },
  creeping: {
    next: (peer) => {
      creepingTsc = creepingTsc === 0n ? peer.tsc() : creepingTsc + 1n;
      return peer.writer.frame(FrameType.PROGRESS, { tsc: creepingTsc });
    },
    said: /creeping.sock is (silent|far behind): going on without it/,
  },
  error: {
    next: (peer) =>
      peer.writer.frame(FrameType.ERROR, {
        code: 0,
        message: `no${ESCAPES}\nHINT: run this`,
        hint: "",
        text: ESCAPES,
        position: 7,
      }),
    said: /^agent-host: ERROR: \S*error.sock answers: no\?\[2J\?\]0;owned\? HINT: run this/m,
  },
};
