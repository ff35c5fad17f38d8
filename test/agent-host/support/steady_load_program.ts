/**
 * A steady load: a process that makes numbered pairs of system calls, so many each second, from a
 * byte on its stdin to the next, or to its end. Lines out:
 *
 *   bun steady_load_program.ts 100000
 *   {"tid":4711}                                          it is ready
 *   {"starts":360000000,"ends":359964000,"ms":3600000}    what it has made
 *
 * A pair is getppid(n), then getpgrp(n): two raw_syscalls:sys_enter with one number, which no other
 * pair has. One pair in ten thousand lacks its end. Between bursts it sleeps.
 */
import { readSync, writeSync } from "node:fs";
import { PollSet } from "../../../shared/sys/poll.ts";
import { syscall } from "../../../shared/sys/syscall.ts";
import { GETPGRP, GETPPID, ownTid } from "../../shared/event/kernel.ts";

const POLLIN = 1;
const SLEEP_MS = 1;
/** One start in so many has no end. */
const UNPAIRED_EVERY = 10_000;
/** What a stalled load makes up for in one burst; more would be no steady load. */
const BURST_MS_MAX = 200;

function say(value: object): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

const pairsPerMs = Number(process.argv[2]) / 1000;
say({ tid: ownTid() });
readSync(0, new Uint8Array(1));

const poll = new PollSet();
poll.add(0, POLLIN);
const startMs = performance.now();
let dueFromMs = startMs;
let [starts, ends] = [0, 0];
do {
  const nowMs = performance.now();
  dueFromMs = Math.max(dueFromMs, nowMs - BURST_MS_MAX);
  const pairs = Math.floor((nowMs - dueFromMs) * pairsPerMs);
  dueFromMs += pairs / pairsPerMs;
  for (let i = 0; i < pairs; i++) {
    syscall(GETPPID, starts, 0, 0, 0, 0, 0);
    if (++starts % UNPAIRED_EVERY === 0) continue;
    syscall(GETPGRP, starts - 1, 0, 0, 0, 0, 0);
    ends++;
  }
} while (poll.wait(SLEEP_MS) === 0);
say({ starts, ends, ms: Math.round(performance.now() - startMs) });
