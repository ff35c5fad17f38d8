/**
 * `agent-guest serve` from source, and a host that asks it for things:
 *
 *   await using served = await startServe();
 *   const host = await served.attach();
 *   expect(await host.open([ownCalls()])).toMatchObject({ error: undefined });
 */

import { readdirSync, readlinkSync } from "node:fs";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import {
  type Control,
  type ControlReply,
  EventKind,
  type EventRequest,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { type AgentProcess, startAgent } from "../../agent-host/support/agent_process.ts";
import { OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { GuestClient } from "./guest_client.ts";
import type { StreamReader } from "./stream_reader.ts";

/** An event as a host asks for it, by default a tracepoint without a filter. */
export function eventRequest(
  system: string,
  name: string,
  changes: Partial<EventRequest> = {},
): EventRequest {
  return {
    kind: EventKind.TRACEPOINT,
    system,
    name,
    alias: "",
    filter: "",
    definition: "",
    cpus: [],
    threadIds: false,
    callChain: false,
    maxStack: 0,
    callChainPart: 0,
    ...changes,
  };
}

/** The numbered calls of this thread. */
export function ownCalls(changes: Partial<EventRequest> = {}): EventRequest {
  const [spec] = parseEventSpecs(OWN_GETPPID());
  return eventRequest(spec!.system, spec!.name, { filter: spec!.filter, ...changes });
}

/** A host's end of the channel. */
export class ServedHost {
  readonly client: GuestClient;
  #id = 0;

  constructor(client: GuestClient) {
    this.client = client;
  }

  get reader(): StreamReader {
    return this.client.reader;
  }

  /** Asks, and gives the last frame of the answer. */
  async ask(request: Control["request"]): Promise<ControlReply> {
    const id = this.tell(request);
    const answer = (): ControlReply | undefined =>
      this.reader.replies.find((reply) => reply.id === id && !reply.more);
    await this.client.until(() => answer() !== undefined, `the answer to request ${id}`);
    return answer()!;
  }

  /** Asks without waiting; gives the request's id. */
  tell(request: Control["request"]): number {
    this.#id++;
    this.client.send(FrameType.CONTROL, { id: this.#id, request });
    return this.#id;
  }

  open(events: EventRequest[], ringBytes = 0): Promise<ControlReply> {
    const value = { events, ringBytes, watermarkBytes: 0 };
    return this.ask({ $case: "open", value });
  }

  /** Opens events that must be opened, and waits until they run. */
  async begin(events: EventRequest[], ringBytes = 0): Promise<void> {
    const { error } = await this.open(events, ringBytes);
    if (error !== undefined) throw new Error(error.message);
    await this.client.untilSampling();
  }
}

export class Served {
  readonly workspace: Workspace;
  readonly agent: AgentProcess;
  readonly path: string;

  constructor(workspace: Workspace, agent: AgentProcess, path: string) {
    this.workspace = workspace;
    this.agent = agent;
    this.path = path;
  }

  connect(reader?: StreamReader): GuestClient {
    return GuestClient.connect({ kind: "unix", path: this.path }, reader);
  }

  /** A host that has attached and been told that it is served. */
  async attach(): Promise<ServedHost> {
    const client = this.connect();
    client.attach();
    await client.until(() => client.reader.hello !== undefined, "Hello");
    return new ServedHost(client);
  }

  /** Waits until the agent has said so, `times` in all. */
  async said(text: string, times = 1): Promise<void> {
    const count = (): number => this.agent.stderr.split(text).length - 1;
    await this.agent.until(() => count() >= times, `"${text}", ${times} times`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace.dispose();
  }
}

/** Starts an agent that serves at a unix socket in a folder of its own. */
export async function startServe(args: readonly string[] = []): Promise<Served> {
  const workspace = new Workspace();
  try {
    const path = workspace.file("s");
    const agent = startAgent(workspace, "agent-guest", ["serve", `unix:${path}`, ...args]);
    await agent.said(/^Waiting for a host at /m);
    return new Served(workspace, agent, path);
  } catch (error) {
    await workspace.dispose();
    throw error;
  }
}

/** Perf events that the agent holds open. */
export function perfEventsOf({ agent }: Served): number {
  const folder = `/proc/${agent.pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`).includes("perf_event");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return false;
    }
  }).length;
}
