/**
 * A guest that is not there when the others have waited for it long enough (10 s, as much as this
 * takes): the run begins without it, and it takes part from when it is ready.
 *
 *   host -- unix:port -- (a proxy, as QEMU is one) -- nobody, later the agent of guest 2
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, createServer, type Server, type Socket } from "node:net";
import { EXIT } from "../../../shared/cli/failure.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { CALL_NUMBER, JsonOutput, pulled, startGuest } from "../support/live.ts";

const KEY = `key="${CALL_NUMBER}"/`;
const CALLS = 2000;
const DEADLINE_MS = 60_000;
let workspace: Workspace;

/** What QEMU is to a guest whose agent has not been started: it accepts, and keeps what it gets. */
class Port {
  readonly place: string;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];

  constructor(place: string) {
    this.place = place;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on("error", () => socket.destroy());
      this.#sockets.push(socket);
    });
    this.#server.listen(place);
  }

  /** The guest's agent has opened its end. */
  connectTo(place: string): void {
    for (const socket of [...this.#sockets]) {
      const agent = connect(place);
      agent.on("error", () => agent.destroy());
      this.#sockets.push(agent);
      socket.pipe(agent);
      agent.pipe(socket);
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function callsOf(host: AgentProcess): number {
  const { latencies } = new JsonOutput(host.stdout);
  return latencies.reduce((sum, { calls }) => sum + calls, 0);
}

describe.skipIf(NO_TRACING !== "")("a guest that is late", () => {
  test(
    "takes part from when it is ready, and one that never is fails the run",
    async () => {
      const early = `unix:${workspace.file("early")}`;
      const ports = [new Port(workspace.file("late")), new Port(workspace.file("never"))];
      const guests = [await startGuest(workspace, early)];
      const [late, never] = ports.map(({ place }) => pulled(`unix:${place}`, KEY));
      const stages = [pulled(early, KEY), late!].flatMap((event) => ["-e", event]);
      const others = ["-e", never!.replace(/\/$/, "/untraced/")];
      const args = ["multi-trace", ...stages, ...others, "--json", "-i", "200"];
      const host = startAgent(workspace, "agent-host", args);
      await host.said(/^Tracing$/m, DEADLINE_MS);
      expect(host.stderr.match(/^Going on without .* until it is ready/gm)).toHaveLength(2);
      // Nobody is there to pair with, and the one that is there is not held up.
      callGetppid(CALLS);
      const place = workspace.file("agent");
      guests.push(await startGuest(workspace, `unix:${place}`));
      ports[0]!.connectTo(place);
      await host.said(/late is ready: its events are seen from now on$/m, DEADLINE_MS);
      callGetppid(CALLS, CALLS);
      await host.until(() => callsOf(host) >= CALLS, `${CALLS} pairs`, DEADLINE_MS);
      expect(await host.stop("SIGINT", DEADLINE_MS)).toMatchObject({ code: EXIT.SOURCE });
      const output = new JsonOutput(host.stdout);
      expect(callsOf(host)).toBe(CALLS);
      expect(output.sum("guest 1", "delivered")).toBe(2 * CALLS);
      expect(output.sum("guest 2", "delivered")).toBe(CALLS);
      expect(output.verdict).toMatchObject({ state: "balances" });
      expect(output.latencies.every(({ violations }) => violations === 0)).toBe(true);
      expect(host.stderr).toContain("never: it never got ready, nothing of it was seen");
      for (const guest of guests) expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
      for (const port of ports) port.close();
    },
    4 * DEADLINE_MS,
  );
});
