/**
 * The load: a process that calls getppid as often, and as fast, as told. One line in, one out:
 *
 *   {"tid":4711}                                           it is ready
 *   2000000 0            two million at full speed         {"calls":2000000,"ns":1830000000}
 *   1000000 100000       one million, 100,000 per second   {"calls":1000000,"ns":10000000000}
 *   10000 1000           at a low rate it sleeps between   {"calls":3000,"ns":3000000000}
 *
 * Every call is one raw_syscalls:sys_enter and one sys_exit of this thread; pacing spins on the
 * vDSO clock, which enters no system call. At a low rate the sleep itself is the call, and SIGUSR1
 * ends the run early.
 */
import { readSync, writeSync } from "node:fs";
import { SYS } from "../../shared/sys/abi.ts";
import { syscall } from "../../shared/sys/syscall.ts";

const LINE_BYTES_MAX = 64;
/** Up to this rate, sleeping is precise enough. */
const SLEEP_RATE_MAX = 1000;
const TURN_CALLS = 10;

let isInterrupted = false;
process.on("SIGUSR1", () => {
  isInterrupted = true;
});

function callAtFullSpeed(calls: number): void {
  for (let i = 0; i < calls; i++) syscall(SYS.getppid, 0, 0, 0, 0, 0, 0);
}

function callPaced(calls: number, callsPerSecond: number): void {
  const gapMs = 1000 / callsPerSecond;
  const startMs = performance.now();
  for (let i = 0; i < calls; i++) {
    const dueMs = startMs + i * gapMs;
    while (performance.now() < dueMs);
    syscall(SYS.getppid, 0, 0, 0, 0, 0, 0);
  }
}

/** The runtime handles signals in the main thread: now and then it gets its turn. */
async function sleepPaced(calls: number, callsPerSecond: number): Promise<number> {
  const gapMs = Math.round(1000 / callsPerSecond);
  isInterrupted = false;
  let done = 0;
  for (; done < calls && !isInterrupted; done++) {
    syscall(SYS.poll, 0, 0, gapMs, 0, 0, 0);
    if (done % TURN_CALLS === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return done;
}

function readLine(): string {
  const bytes = new Uint8Array(LINE_BYTES_MAX);
  const count = readSync(0, bytes, 0, LINE_BYTES_MAX, null);
  return new TextDecoder().decode(bytes.subarray(0, count)).trim();
}

function say(value: object): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

say({ tid: syscall(SYS.gettid, 0, 0, 0, 0, 0, 0) });
for (let line = readLine(); line !== ""; line = readLine()) {
  const [calls = 0, callsPerSecond = 0] = line.split(" ").map(Number);
  const startMs = performance.now();
  let done = calls;
  if (callsPerSecond === 0) callAtFullSpeed(calls);
  else if (callsPerSecond > SLEEP_RATE_MAX) callPaced(calls, callsPerSecond);
  else done = await sleepPaced(calls, callsPerSecond);
  say({ calls: done, ns: Math.round((performance.now() - startMs) * 1e6) });
}
