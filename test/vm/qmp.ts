/**
 * A small client for QEMU's machine protocol: JSON objects, one per line.
 *
 *   from QEMU  {"QMP": {"version": ..., "capabilities": [...]}}
 *   to QEMU    {"execute": "device_add", "arguments": {...}, "id": 1}
 *   from QEMU  {"return": {}, "id": 1}    or   {"error": {"class": "...", "desc": "..."}, "id": 1}
 *   from QEMU  {"event": "DEVICE_DELETED", "data": {...}, "timestamp": {...}}
 */

import { connect, type Socket } from "node:net";
import { withDeadline } from "./deadline.ts";

const COMMAND_DEADLINE_MS = 10_000;
const LINE_CHARS_MAX = 4 * 1024 * 1024;
const EVENTS_MAX = 1_000;

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** QEMU refused a command, or the connection ended. */
export class QmpError extends Error {
  override readonly name = "QmpError";
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Message {
  readonly QMP?: unknown;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: Record<string, unknown>;
}

/** Connects to a unix socket and resolves with it, or rejects with the system's error. */
export function connectUnix(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

export class QmpClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #events: QmpEvent[] = [];
  readonly #eventWaiters = new Set<(event: QmpEvent) => void>();
  #buffer = "";
  #nextId = 1;
  #greeted: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text) => this.#receive(String(text)));
    socket.on("error", (error) => this.#fail(new QmpError(`Lost QMP: ${error.message}`)));
    socket.on("close", () => this.#fail(new QmpError("Lost QMP: QEMU closed the connection")));
  }

  /** Connects and leaves capabilities negotiation mode. */
  static async connect(path: string): Promise<QmpClient> {
    const client = new QmpClient(await connectUnix(path));
    const greeting = new Promise<void>((resolve) => {
      client.#greeted = resolve;
    });
    await withDeadline(greeting, COMMAND_DEADLINE_MS, "QEMU's QMP greeting");
    await client.execute("qmp_capabilities");
    return client;
  }

  /** The value of "return". @throws QmpError with QEMU's own words */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const id = this.#nextId++;
    const reply = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    const request = { execute: command, ...(args === undefined ? {} : { arguments: args }), id };
    this.#socket.write(`${JSON.stringify(request)}\n`);
    return withDeadline(reply, COMMAND_DEADLINE_MS, `QMP "${command}"`);
  }

  /** A command of the human monitor, for what QMP has no command for. */
  async monitor(commandLine: string): Promise<string> {
    return String(await this.execute("human-monitor-command", { "command-line": commandLine }));
  }

  /** The first event that matches, also among those that came before. */
  async waitForEvent(matches: (event: QmpEvent) => boolean, deadlineMs: number): Promise<QmpEvent> {
    const past = this.#events.find(matches);
    if (past !== undefined) {
      return past;
    }
    let waiter: ((event: QmpEvent) => void) | undefined;
    const promise = new Promise<QmpEvent>((resolve) => {
      waiter = (event) => {
        if (matches(event)) {
          resolve(event);
        }
      };
      this.#eventWaiters.add(waiter);
    });
    try {
      return await withDeadline(promise, deadlineMs, "a QMP event");
    } finally {
      this.#eventWaiters.delete(waiter!);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    const lines = (this.#buffer + text).split("\n");
    this.#buffer = lines.pop() ?? "";
    if (this.#buffer.length > LINE_CHARS_MAX) {
      this.#socket.destroy();
      this.#fail(new QmpError(`Lost QMP: a line passes ${LINE_CHARS_MAX} characters`));
      return;
    }
    for (const line of lines) {
      if (line.trim() !== "") {
        this.#dispatch(JSON.parse(line) as Message);
      }
    }
  }

  #dispatch(message: Message): void {
    if (message.QMP !== undefined) {
      this.#greeted?.();
    } else if (message.event !== undefined) {
      const event = { event: message.event, data: message.data ?? {} };
      this.#events.push(event);
      if (this.#events.length > EVENTS_MAX) {
        this.#events.shift();
      }
      for (const waiter of this.#eventWaiters) {
        waiter(event);
      }
    } else if (message.id !== undefined) {
      const pending = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      if (message.error === undefined) {
        pending?.resolve(message.return);
      } else {
        pending?.reject(new QmpError(`${message.error.class}: ${message.error.desc}`));
      }
    }
  }

  #fail(error: Error): void {
    for (const pending of this.#pending.values()) {
      pending.reject(error);
    }
    this.#pending.clear();
  }
}
