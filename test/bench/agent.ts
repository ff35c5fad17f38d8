/** agent-guest as a sampler, with each of its sinks, and the floor beside each. */
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { boundPort, listenOn } from "../../shared/sys/socket.ts";
import { Program } from "./program.ts";
import {
  LOAD_CPU,
  type Outcome,
  RING_PAGES,
  type Running,
  SAMPLER_CPU,
  type Sampler,
  SamplerProcess,
} from "./sampler.ts";

export const AGENT_GUEST = "dist/agent-guest";

export const SINKS = ["file", "tcp", "unix", "pty"] as const;
export type SinkKind = (typeof SINKS)[number];

export const SINK_TITLES: Readonly<Record<SinkKind, string>> = {
  file: "file",
  tcp: "tcp client",
  unix: "unix socket",
  pty: "char device (pty)",
};

const LEDGER = /produced (\d+), lost by the kernel (\d+), dropped (\d+), forwarded (\d+)/;

/** A port that was free a moment ago. */
function freePort(): number {
  const listener = listenOn({ kind: "tcp", host: "127.0.0.1", port: 0 });
  const port = boundPort(listener);
  listener.close();
  return port;
}

/** The last ledger in what the agent printed. */
export function readLedger(log: string): { lost: number; delivered: number } | undefined {
  const match = LEDGER.exec(log);
  if (match === null) return undefined;
  return { lost: Number(match[2]) + Number(match[3]), delivered: Number(match[4]) };
}

interface Endpoint {
  /** The value of push=. */
  readonly push: string;
  readonly reader: Program | undefined;
  /** Where the file or socket lies. */
  readonly path: string;
}

/** Prepares the far end of a sink. The reader of a socket waits for the agent to listen. */
async function openEndpoint(kind: SinkKind, folder: string, mode: string): Promise<Endpoint> {
  if (kind === "file") {
    const path = join(folder, "agent.vms");
    return { push: `"${path}"`, reader: undefined, path };
  }
  if (kind === "tcp") {
    const address = `127.0.0.1:${freePort()}`;
    const reader = new Program(LOAD_CPU, "reader.ts", "tcp", address, "drain");
    return { push: address, reader, path: "" };
  }
  if (kind === "unix") {
    const path = join(folder, "agent.sock");
    return {
      push: `"unix:${path}"`,
      reader: new Program(LOAD_CPU, "reader.ts", kind, path, mode),
      path,
    };
  }
  const reader = new Program(LOAD_CPU, "reader.ts", kind, "-", mode);
  const { path } = await reader.answer();
  return { push: `"${path}"`, reader, path: "" };
}

/** `agent-guest trace` of one thread's system calls. */
export function agentCommand(tid: number, push: string): string[] {
  const event = `raw_syscalls:sys_enter/common_pid==${tid}/push=${push}/`;
  return [AGENT_GUEST, "trace", "-e", event, "-m", String(RING_PAGES)];
}

export function agentGuest(kind: SinkKind, folder: string): Sampler {
  const name = `agent-guest to a ${SINK_TITLES[kind]}`;
  const start = async (tid: number): Promise<Running> => {
    const { push, reader, path } = await openEndpoint(kind, folder, "ack");
    const log = join(folder, `agent-${kind}.log`);
    const process = new SamplerProcess(name, agentCommand(tid, push), log);
    let attached = kind === "file" || kind === "pty";
    if (!attached) {
      const onAttached = (): void => {
        attached = true;
      };
      // A reader that ended leaves `attached` false, and ready() reports the sampler's state.
      void reader!.answer().then(onAttached, () => undefined);
    }
    return {
      process,
      hasEvents: () => process.holdsPerfEvents && attached,
      outcome: async (): Promise<Outcome> => {
        const ledger = readLedger(process.log);
        const sinkBytes =
          reader === undefined ? statSync(path).size : Number((await reader.answer()).bytes);
        if (kind === "file") rmSync(path);
        return { sinkBytes, lost: ledger?.lost, delivered: ledger?.delivered };
      },
      abort: () => {
        process.kill();
        reader?.stop();
      },
    };
  };
  return { name, start };
}

/** CPU time, in ns, of plain writes of `bytes` in pieces of `writeBytes` to a sink of this kind. */
export async function measureFloor(
  kind: SinkKind,
  folder: string,
  bytes: number,
  writeBytes: number,
): Promise<number> {
  const sizes = [String(Math.round(bytes)), String(Math.round(writeBytes))];
  const path = join(folder, kind === "file" ? "floor.bin" : "floor.sock");
  let reader: Program | undefined;
  let where = path;
  if (kind === "pty") {
    reader = new Program(LOAD_CPU, "reader.ts", kind, "-", "drain");
    where = String((await reader.answer()).path);
  }
  rmSync(path, { force: true });
  const writer = new Program(SAMPLER_CPU, "floor.ts", kind, where, ...sizes);
  if (kind === "tcp" || kind === "unix") {
    where = String((await writer.answer()).path);
    reader = new Program(LOAD_CPU, "reader.ts", kind, where, "drain");
    await reader.answer();
  }
  const { cpuNs } = await writer.answer();
  await reader?.answer();
  rmSync(path, { force: true });
  return Number(cpuNs);
}
