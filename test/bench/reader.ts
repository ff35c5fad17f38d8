/**
 * The other end of a sink, reading as fast as it can:
 *
 *   bun reader.ts tcp 127.0.0.1:9900 drain     connects, reads to the end
 *   bun reader.ts unix /run/x.sock ack         connects, sends Attach, acknowledges what it reads
 *   bun reader.ts pty - ack                    opens a pty, likewise
 *
 * It prints {"path":"/dev/pts/3"} once it is ready (path for a pty only), and at the end
 * {"bytes":N,"records":N}; with "ack" it joins the spans to know where records end.
 */
import { writeSync } from "node:fs";
import { POLLIN, POLLOUT } from "../../shared/sys/abi.ts";
import { EAGAIN, SysError } from "../../shared/sys/errno.ts";
import { type Fd, readInto, writeFrom } from "../../shared/sys/fd.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import { connectTo, finishConnect, type SocketAddress } from "../../shared/sys/socket.ts";
import { type Address, addressOf } from "../../shared/sys/syscall.ts";
import { FRAME_PAYLOAD_BYTES_MAX, FrameType } from "../../shared/wire/frame.ts";
import { DECODER_BUFFER_BYTES_MIN, FrameDecoder } from "../../shared/wire/frame_decoder.ts";
import { FrameWriter } from "../../shared/wire/frame_writer.ts";
import { readSamples, SamplesView } from "../../shared/wire/samples_reader.ts";
import { SpanJoiner } from "../../shared/wire/span_joiner.ts";
import { blockMs } from "./kernel.ts";
import { openPty } from "./pty.ts";

const CONNECT_DEADLINE_MS = 20_000;
const CONNECT_RETRY_MS = 5;
const EIO = 5;
/** An Ack is due after so long, or so many bytes: a ring of 4 MiB fills in 14 ms at full speed. */
const ACK_MS = 20;
const ACK_BYTES = 256 * 1024;

function say(value: object): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

/** The agent may not listen yet: tries until it does. */
function connectPatiently(address: SocketAddress): Fd {
  const endMs = performance.now() + CONNECT_DEADLINE_MS;
  for (;;) {
    try {
      const fd = connectTo(address);
      const poll = new PollSet();
      const slot = poll.add(fd.number, POLLOUT);
      while (poll.readyEvents(slot) === 0) poll.wait(CONNECT_RETRY_MS);
      poll.close();
      finishConnect(fd);
      return fd;
    } catch (error) {
      if (!(error instanceof SysError) || performance.now() > endMs) throw error;
      blockMs(CONNECT_RETRY_MS);
    }
  }
}

/** Reads frames and acknowledges whole records, as a host does that keeps up. */
class Acknowledger {
  records = 0;
  #dueMs = 0;
  #bytesBehind = 0;
  readonly #fd: Fd;
  readonly #writer = new FrameWriter();
  readonly #joiners = new Map<number, SpanJoiner>();
  readonly #samples = new SamplesView();
  readonly #sink = {
    span: (_bytes: Uint8Array, _from: number, _to: number, records: number): void => {
      this.records += records;
    },
    lost: (from: number, to: number): void => {
      console.error(`reader: ring bytes ${from} to ${to} did not come`);
    },
  };
  #sequence = 0;

  constructor(fd: Fd) {
    this.#fd = fd;
    const attach = { attachNonce: 1n, streamNonce: 0n, resume: [], agentVersion: "bench" };
    this.#send(this.#writer.encode(FrameType.ATTACH, attach, this.#sequence++));
  }

  takeAll(decoder: FrameDecoder): void {
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
      if (frame.type !== FrameType.SAMPLES) continue;
      const { bytes, payloadStart, payloadEnd } = frame;
      if (!readSamples(bytes, payloadStart, payloadEnd, this.#samples)) continue;
      const { cpu, spanStart, spanEnd, position, recordStart } = this.#samples;
      const joiner = this.#joinerOf(cpu);
      joiner.push(bytes, spanStart, spanEnd, position, recordStart, this.#sink);
      this.#bytesBehind += spanEnd - spanStart;
    }
    this.acknowledgeIfDue();
  }

  acknowledgeIfDue(): void {
    const nowMs = performance.now();
    const behind = this.#bytesBehind;
    if (behind === 0 || (behind < ACK_BYTES && nowMs < this.#dueMs)) return;
    this.#dueMs = nowMs + ACK_MS;
    this.#bytesBehind = 0;
    this.#acknowledge();
  }

  #joinerOf(cpu: number): SpanJoiner {
    const known = this.#joiners.get(cpu);
    if (known !== undefined) return known;
    const joiner = new SpanJoiner(FRAME_PAYLOAD_BYTES_MAX);
    this.#joiners.set(cpu, joiner);
    return joiner;
  }

  #acknowledge(): void {
    const synced = [...this.#joiners].filter(([, joiner]) => joiner.synced);
    const positions = synced.map(([cpu, joiner]) => ({
      cpu,
      position: BigInt(joiner.position),
    }));
    this.#send(this.#writer.encode(FrameType.ACK, { positions }, this.#sequence++));
  }

  #send(frame: Uint8Array): void {
    const address = addressOf(frame);
    for (let at = 0; at < frame.length; ) {
      const sent = writeFrom(this.#fd, (address + at) as Address, frame.length - at);
      if (sent > 0) at += sent;
      else if (sent === -EAGAIN) blockMs(1);
      else return;
    }
  }
}

/** Reads until the other side is gone. */
function readToEnd(fd: Fd, acknowledger: Acknowledger | undefined, onFirst: () => void): void {
  const buffer = new Uint8Array(DECODER_BUFFER_BYTES_MIN);
  const address = addressOf(buffer);
  const decoder = new FrameDecoder({ buffer });
  const poll = new PollSet();
  poll.add(fd.number, POLLIN);
  let bytes = 0;
  for (;;) {
    const at = acknowledger === undefined ? 0 : decoder.reserveAt();
    const got = readInto(fd, (address + at) as Address, buffer.length - at);
    if (got === -EAGAIN) {
      poll.wait(ACK_MS);
      acknowledger?.acknowledgeIfDue();
      continue;
    }
    if (got === 0 || got === -EIO) break;
    if (got < 0) throw new SysError(`read from ${fd.what}`, -got);
    if (bytes === 0) onFirst();
    bytes += got;
    if (acknowledger === undefined) continue;
    decoder.commit(got);
    acknowledger.takeAll(decoder);
  }
  say({ bytes, records: acknowledger?.records ?? 0 });
}

const [kind = "", where = "", mode = ""] = process.argv.slice(2);
if (kind === "pty") {
  const { master, slave, path } = openPty();
  const acknowledger = mode === "ack" ? new Acknowledger(master) : undefined;
  say({ path });
  readToEnd(master, acknowledger, () => slave.close());
} else {
  const [host = "", port = ""] = where.split(":");
  const address: SocketAddress =
    kind === "tcp" ? { kind, host, port: Number(port) } : { kind: "unix", path: where };
  const fd = connectPatiently(address);
  say({ path: "" });
  readToEnd(fd, mode === "ack" ? new Acknowledger(fd) : undefined, () => undefined);
}
