/** Listener: clients that come in crowds, and when there are no descriptors for them. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  ACCEPTS_PER_TURN_MAX,
  DESCRIPTORS_KEPT,
  Listener,
} from "../../../agent-guest/sink/listener.ts";
import { TALK_MS_MAX } from "../../../agent-guest/sink/talk_budget.ts";
import { O_RDONLY, SYS } from "../../../shared/sys/abi.ts";
import { checked } from "../../../shared/sys/errno.ts";
import { descriptorsMax, type Fd, openFile } from "../../../shared/sys/fd.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { connectTo, listenOn } from "../../../shared/sys/socket.ts";
import { addressOf, syscall } from "../../../shared/sys/syscall.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { range } from "../support/numbers.ts";

const DEADLINE_MS = 20_000;
/** What the queue of a unix socket takes: one more than its backlog. */
const QUEUE_MAX = 17;
const RLIMIT_NOFILE = 7;
const SYS_SETRLIMIT = 160;

let workspace: Workspace;
beforeAll(() => {
  workspace = new Workspace();
});
afterAll(() => workspace.dispose());

/** Runs `work` with another limit of descriptors (ulimit -S -n). */
function withDescriptorsMax(softMax: number, work: () => void): void {
  const limits = new BigUint64Array(2);
  const pointer = addressOf(limits);
  checked(syscall(SYS.getrlimit, RLIMIT_NOFILE, pointer, 0, 0, 0, 0), "read the limit");
  const [before] = limits;
  limits[0] = BigInt(softMax);
  checked(syscall(SYS_SETRLIMIT, RLIMIT_NOFILE, pointer, 0, 0, 0, 0), "set the limit");
  try {
    expect(descriptorsMax()).toBe(softMax);
    work();
  } finally {
    limits[0] = before!;
    checked(syscall(SYS_SETRLIMIT, RLIMIT_NOFILE, pointer, 0, 0, 0, 0), "set the limit back");
  }
}

class Door implements Disposable {
  readonly said: string[] = [];
  readonly taken: Fd[] = [];
  readonly poll = new PollSet();
  readonly #clients: Fd[];
  readonly #listener: Listener;

  /** So many clients wait. */
  constructor(clients: number, path: string) {
    const address = { kind: "unix", path } as const;
    this.#listener = new Listener(listenOn(address), (text) => this.said.push(text));
    this.#clients = range(clients).map(() => connectTo(address));
  }

  /** Whether clients are waited for. */
  listens(): boolean {
    this.poll.clear();
    this.#listener.register(this.poll);
    return this.poll.count > 0;
  }

  /** One turn of the loop; whether it listened. */
  turn(work: () => void = () => {}): boolean {
    const isListening = this.listens();
    this.poll.wait(0);
    this.#listener.service(this.poll, (fd) => {
      this.taken.push(fd);
      work();
    });
    return isListening;
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    this.poll.close();
    for (const fd of [...this.taken, ...this.#clients]) fd.close();
  }
}

describe("Listener", () => {
  let path = "";
  let doors = 0;
  beforeEach(() => {
    doors++;
    path = workspace.file(`s${doors}`);
  });

  test("lets in so many a turn, and the rest in the next", () => {
    using door = new Door(QUEUE_MAX, path);
    expect(door.turn()).toBe(true);
    expect(door.taken.length).toBeLessThanOrEqual(ACCEPTS_PER_TURN_MAX);
    for (let i = 0; i < QUEUE_MAX; i++) door.turn();
    expect(door.taken.length).toBe(QUEUE_MAX);
    expect(door.said).toEqual([]);
  });

  test("does not listen for a while when letting in has taken too long", async () => {
    const BUSY_MS = 30;
    expect(QUEUE_MAX * BUSY_MS).toBeGreaterThan(2 * TALK_MS_MAX);
    using door = new Door(QUEUE_MAX, path);
    const begin = (): void => {
      for (const fromMs = performance.now(); performance.now() < fromMs + BUSY_MS; );
    };
    while (door.turn(begin) && door.taken.length < QUEUE_MAX);
    expect(door.taken.length).toBeLessThan(QUEUE_MAX);
    await waitUntil(() => door.listens(), DEADLINE_MS, "the next turn");
  });

  test("leaves the last descriptors to others, says so once, and tries again", async () => {
    using door = new Door(3, path);
    const listens = () => waitUntil(() => door.listens(), DEADLINE_MS, "a try");
    const free = openFile("/dev/null", O_RDONLY);
    const next = free.number;
    free.close();
    // One descriptor is free beyond those that are kept for others, or none at all.
    withDescriptorsMax(next + DESCRIPTORS_KEPT, () => door.turn());
    expect(door.taken).toEqual([]);
    expect(door.said.length).toBe(1);
    expect(door.said[0]).toMatch(/^WARNING: Cannot accept on .*: EMFILE /);
    expect(door.turn()).toBe(false);
    await listens();
    withDescriptorsMax(next, () => door.turn());
    expect(door.taken).toEqual([]);
    expect(door.said.length).toBe(1);
    await listens();
    door.turn();
    expect(door.taken.length).toBe(2);
    expect(door.said.length).toBe(1);
  });
});
